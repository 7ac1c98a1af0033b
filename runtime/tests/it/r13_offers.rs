//! Goal: an offer is good for one poll. A future that was set aside, or a cancelled task that waits
//! for its children, blocks no other task.
//! Method: programs that hang if an offer is not declined, on threads, where the deadline of the
//! test is the assertion, and simulated, where a hang is a deadlock.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::future::select;
use futures::stream::FuturesUnordered;
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Diagnostic, Finding, MainError, await_all, defer, shield, sleep, spawn, yield_now,
};
use matou_sync::{Condition, Mutex, Queue};

use crate::support::{
    Counter, Place, Reports, WakeCounter, run_on, run_with, within_deadline,
    within_deadline_on_stack,
};

const SEEDS: std::ops::Range<u64> = 0..40;

/// Runs a program on threads and simulated, with its tasks on one domain and on several.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn(Place) -> F + Copy + Send + Sync + 'static,
) {
    for place in Place::BOTH {
        // The findings are the subject of other tests.
        let builder = Builder::new().domains(3).on_report(|_| ());
        run_with(builder, move || program(place)).expect("the run succeeds");
        Check::simulated().on_report(|_| ()).run(SEEDS, move || program(place));
    }
}

/// Yields until `count` tasks wait for the mutex.
async fn waiters<T>(mutex: &Mutex<T>, count: usize) {
    while mutex.waiters() != count {
        yield_now().await;
    }
}

/// Polls a future that has to wait once, and returns.
async fn poll_once<F: Future + Unpin>(future: &mut F) {
    std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn f13_a_lock_that_was_set_aside_does_not_block_another_task() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let careless = place.spawn(move || async move {
            let mut set_aside = lock.lock();
            poll_once(&mut set_aside).await;
            pending::<()>().await;
        });
        waiters(&mutex, 1).await;
        let lock = Arc::clone(&mutex);
        let bystander = place.spawn(move || async move { drop(lock.lock().await) });
        waiters(&mutex, 2).await;
        drop(guard);
        bystander.await?;
        careless.cancel().await;
        Ok(())
    });
}

/// The program of Oxide's RFD 609.
#[test]
fn f13_a_task_that_locks_again_after_it_has_set_a_lock_aside_goes_on() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let lock = Arc::clone(&mutex);
        let holder = place.spawn(move || async move {
            let _guard = lock.lock().await;
            waiters(&lock, 2).await;
        });
        while mutex.holder().is_none() {
            yield_now().await;
        }
        let lock = Arc::clone(&mutex);
        let careless = place.spawn(move || async move {
            let mut first = Box::pin(async { *lock.lock().await += 1 });
            let _ = select(&mut first, pin!(yield_now())).await;
            *lock.lock().await += 10;
            first.await;
        });
        careless.await?;
        holder.await?;
        assert_eq!(*mutex.lock().await, 11);
        Ok(())
    });
}

#[test]
fn f13_b9_a_push_that_was_set_aside_does_not_block_another_task() {
    everywhere(|place| async move {
        let queue = Arc::new(Queue::bounded(1));
        queue.push(0).await?;
        let (pushing, counter) = (Arc::clone(&queue), Counter::new());
        let polled = counter.clone();
        let careless = place.spawn(move || async move {
            let mut set_aside = pushing.push(1);
            poll_once(&mut set_aside).await;
            polled.add();
            pending::<()>().await;
        });
        counter.reaches(1).await;
        let pushing = Arc::clone(&queue);
        let bystander = place.spawn(move || async move { pushing.push(2).await.is_ok() });
        for _ in 0..20 {
            yield_now().await;
        }
        assert_eq!(queue.pop().await, Ok(0));
        assert_eq!(queue.pop().await, Ok(2));
        assert!(bystander.await?);
        careless.cancel().await;
        assert!(queue.is_empty());
        Ok(())
    });
}

#[test]
fn f13_a_pop_that_was_set_aside_does_not_block_another_task() {
    everywhere(|place| async move {
        let queue = Arc::new(Queue::unbounded());
        let (popping, counter) = (Arc::clone(&queue), Counter::new());
        let polled = counter.clone();
        let careless = place.spawn(move || async move {
            let mut set_aside = popping.pop();
            poll_once(&mut set_aside).await;
            polled.add();
            pending::<()>().await;
        });
        counter.reaches(1).await;
        let popping = Arc::clone(&queue);
        let bystander = place.spawn(move || async move { popping.pop().await });
        for _ in 0..20 {
            yield_now().await;
        }
        queue.push(7).await?;
        assert_eq!(bystander.await?, Ok(7));
        careless.cancel().await;
        Ok(())
    });
}

#[test]
fn f13_a_signal_for_a_wait_that_was_set_aside_ends_the_wait_of_another_task() {
    everywhere(|place| async move {
        let shared = Arc::new((Mutex::new(()), Condition::new()));
        let waiting = Arc::clone(&shared);
        let careless = place.spawn(move || async move {
            let mut set_aside = waiting.1.wait(waiting.0.lock().await);
            poll_once(&mut set_aside).await;
            pending::<()>().await;
        });
        while shared.1.waiters() < 1 {
            yield_now().await;
        }
        let waiting = Arc::clone(&shared);
        let bystander = place.spawn(move || async move {
            drop(waiting.1.wait(waiting.0.lock().await).await);
        });
        while shared.1.waiters() < 2 {
            yield_now().await;
        }
        assert!(shared.1.signal());
        bystander.await?;
        careless.cancel().await;
        Ok(())
    });
}

#[test]
fn f13_a_starved_lock_that_was_set_aside_does_not_hold_newcomers_back() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(()));
        let (lock, counter) = (Arc::clone(&mutex), Counter::new());
        let polls = counter.clone();
        let mut guard = mutex.lock().await;
        let careless = place.spawn(move || async move {
            let mut set_aside = lock.lock();
            for _ in 0..6 {
                poll_once(&mut set_aside).await;
                let poll = polls.add();
                // Woken by the unlock, and overtaken. After the sixth poll it is set aside.
                while polls.get() == poll {
                    yield_now().await;
                }
            }
            pending::<()>().await;
        });
        for round in 1..=6 {
            counter.reaches(2 * round - 1).await;
            if round < 6 {
                drop(guard);
                guard = mutex.try_lock().expect("the waiter is not starved yet");
            }
            counter.add();
        }
        drop(guard);
        // Newcomers are held back until the task was polled, and no longer.
        while mutex.try_lock().is_none() {
            yield_now().await;
        }
        careless.cancel().await;
        Ok(())
    });
}

#[test]
fn b8_a_cancelled_waiter_does_not_keep_the_lock_from_its_shield() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let parent = place.spawn(move || async move {
            let inner = Arc::clone(&lock);
            let child = shield(async move {
                waiters(&inner, 1).await;
                *inner.lock().await += 1;
            });
            let _guard = lock.lock().await;
            let _ = child.await;
        });
        waiters(&mutex, 2).await;
        let cancelled = parent.cancel();
        drop(guard);
        cancelled.await;
        assert_eq!(*mutex.lock().await, 1, "the shield had the lock before its limit");
        Ok(())
    });
}

/// Also before the cancelled task is polled again.
#[test]
fn b8_an_offer_to_a_cancelled_task_goes_to_the_next_waiter_at_once() {
    let result = run_on(1, || async {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let first = spawn(async move { drop(lock.lock().await) });
        waiters(&mutex, 1).await;
        let counter = WakeCounter::new();
        let (waker, mut second) = (Waker::from(Arc::clone(&counter)), mutex.lock());
        assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
        let cancelled = first.cancel();
        drop(guard);
        assert_eq!(counter.wakes.get(), 1);
        drop(second);
        cancelled.await;
        Ok(())
    });
    result.expect("the run succeeds");
}

#[test]
fn b8_a_cancelled_waiter_does_not_keep_the_lock_from_a_finalizer_of_its_child() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let parent = place.spawn(move || async move {
            let inner = Arc::clone(&lock);
            let child = spawn(async move {
                let finalizing = Arc::clone(&inner);
                defer(async move { *finalizing.lock().await += 1 });
                pending::<()>().await;
            });
            let _guard = lock.lock().await;
            let _ = child.await;
        });
        waiters(&mutex, 1).await;
        // The child has begun.
        for _ in 0..20 {
            yield_now().await;
        }
        let mut cancelled = pin!(parent.cancel());
        let _ = select(&mut cancelled, pin!(waiters(&mutex, 2))).await;
        drop(guard);
        cancelled.await;
        assert_eq!(*mutex.lock().await, 1);
        Ok(())
    });
}

#[test]
fn r13_a_declined_offer_is_a_finding_that_names_both_lines() {
    let line = line!();
    let program = |place: Place| async move {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().await;
        let (lock, end) = (Arc::clone(&mutex), Arc::new(Queue::<()>::unbounded()));
        let other = Arc::clone(&end);
        let careless = place.spawn(move || async move {
            let mut set_aside = lock.lock();
            poll_once(&mut set_aside).await;
            assert!(other.pop().await.is_err());
        });
        waiters(&mutex, 1).await;
        for _ in 0..50 {
            yield_now().await;
        }
        drop(guard);
        for _ in 0..50 {
            yield_now().await;
        }
        end.close();
        careless.await?;
        Ok::<_, MainError>(())
    };
    let check = |findings: Vec<Diagnostic>| {
        let [Diagnostic::Finding(finding)] = &*findings else { panic!("{findings:?}") };
        let Finding::DeclinedOffer { operation, waiting_at, blocked_on, .. } = finding else {
            panic!("{finding}")
        };
        assert_eq!((*operation, waiting_at.line()), ("lock", line + 7));
        assert_eq!(blocked_on.site.operation, "pop");
        assert_eq!(blocked_on.site.location.map(|at| at.line()), Some(line + 9));
        let text = finding.to_string();
        for part in ["warning[DeclinedOffer]", "`lock`", "the task waits for pop on queue"] {
            assert!(text.contains(part), "{text}");
        }
    };
    for place in Place::BOTH {
        let (builder, reports) = Reports::collect(Builder::new().domains(3));
        run_with(builder, move || program(place)).expect("the run succeeds");
        // On threads, 50 polls may be too few for the other domain to get so far.
        if place == Place::Local {
            check(reports.all());
        }
        for seed in SEEDS {
            let reports = Reports::default();
            let hook = reports.clone();
            let simulated = Check::simulated().on_report(move |found| hook.push(found.clone()));
            simulated.trial(seed, program(place)).outcome.expect("the run succeeds");
            if place == Place::Local {
                check(reports.all());
            }
        }
    }
}

#[test]
fn r13_futures_of_a_set_that_are_polled_later_and_cancelled_tasks_are_no_findings() {
    let (builder, reports) = Reports::collect(Builder::new().domains(1));
    let run = run_with(builder, || async {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = |_| async { *mutex.lock().await += 1 };
        let mut locks: FuturesUnordered<_> = (0..500).map(lock).collect();
        let lock = Arc::clone(&mutex);
        let cancelled = spawn(async move {
            let done = shield(pending::<()>()).limit(Duration::ZERO);
            let _guard = lock.lock().await;
            let _ = done.await;
        });
        assert!(futures::FutureExt::now_or_never(locks.next()).is_none());
        yield_now().await;
        let cancelled = cancelled.cancel();
        drop(guard);
        while locks.next().await.is_some() {}
        cancelled.await;
        assert_eq!(*mutex.lock().await, 500);
        Ok(())
    });
    run.expect("the run succeeds");
    assert_eq!(reports.names(), Vec::<&str>::new());
}

/// The waker that is called wakes no task.
#[test]
fn f13_a_lock_that_was_polled_with_another_waker_and_kept_blocks_no_task() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let careless = place.spawn(move || async move {
            let mut kept = lock.lock();
            assert!(Pin::new(&mut kept).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            pending::<()>().await;
        });
        waiters(&mutex, 1).await;
        let lock = Arc::clone(&mutex);
        let bystander = place.spawn(move || async move { drop(lock.lock().await) });
        waiters(&mutex, 2).await;
        drop(guard);
        bystander.await?;
        careless.cancel().await;
        Ok(())
    });
}

/// A set of futures polls only those that were woken, and its task is woken for other reasons too.
/// If an offer were declined before the wake-up had arrived, these would lose their turns.
#[test]
fn f13_futures_of_a_set_are_not_taken_for_set_aside() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let children: Vec<_> = (0..3)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                place.spawn(move || async move {
                    let lock = |index| {
                        let mutex = &mutex;
                        async move {
                            let mut guard = mutex.lock().await;
                            yield_now().await;
                            guard.push(index);
                        }
                    };
                    let mut locks: FuturesUnordered<_> = (0..5).map(lock).collect();
                    while locks.next().await.is_some() {}
                })
            })
            .collect();
        for outcome in await_all(children).await {
            outcome?;
        }
        assert_eq!(mutex.lock().await.len(), 15);
        Ok(())
    });
}

#[test]
fn f13_a_select_loop_that_comes_back_to_its_lock_gets_it() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let looping = place.spawn(move || async move {
            let mut locking = pin!(lock.lock());
            for _ in 0..50 {
                let tick = pin!(yield_now());
                if let futures::future::Either::Left((mut guard, _)) =
                    select(&mut locking, tick).await
                {
                    *guard += 1;
                    return;
                }
                // Set aside for a moment.
                yield_now().await;
                sleep(Duration::from_micros(10)).await;
            }
            *locking.await += 1;
        });
        waiters(&mutex, 1).await;
        let lock = Arc::clone(&mutex);
        let other = place.spawn(move || async move { *lock.lock().await += 1 });
        waiters(&mutex, 2).await;
        drop(guard);
        other.await?;
        looping.await?;
        assert_eq!(*mutex.lock().await, 2);
        Ok(())
    });
}

/// The task that frees a slot takes it again before the outsider is polled.
#[test]
fn f20_b11_a_push_gets_in_although_another_task_takes_each_slot_that_it_frees() {
    everywhere(|place| async move {
        let queue = Arc::new(Queue::bounded(1));
        queue.try_push("job")?;
        let (pushing, counter) = (Arc::clone(&queue), Counter::new());
        let polled = counter.clone();
        let outsider = place.spawn(move || async move {
            let mut push = pushing.push("outsider");
            poll_once(&mut push).await;
            polled.add();
            push.await.is_ok()
        });
        counter.reaches(1).await;
        let mut rounds = 0;
        while queue.pop().await? != "outsider" {
            // Fails once the slot is reserved. (To wait here would be to wait for a pop of one's
            // own.)
            let _ = queue.try_push("job");
            rounds += 1;
            yield_now().await;
        }
        // Other domains may be polled less often than this one, and simulated ones in any order.
        assert!(rounds >= 1, "the outsider was overtaken");
        assert!(outsider.await?);
        Ok(())
    });
}

/// Futures of one stream that lock, beside a lock in the body of the loop.
#[test]
fn f13_b10_a_buffered_stream_of_locks_beside_a_lock_in_the_loop_ends() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let lock = Arc::clone(&mutex);
        let looping = place.spawn(move || async move {
            let futures = futures::stream::iter(0..6).map(|_| async {
                let mut guard = lock.lock().await;
                *guard += 1;
                yield_now().await;
            });
            let mut stream = pin!(futures.buffered(3));
            while stream.next().await.is_some() {
                // Futures of the stream wait in the line before it, and are not polled here.
                *lock.lock().await += 10;
            }
        });
        looping.await?;
        assert_eq!(*mutex.lock().await, 66);
        Ok(())
    });
}

/// Every one of them declines at once, each inside the wake-up of the one before.
#[test]
fn f13_many_cancelled_waiters_are_skipped_without_recursion() {
    const TASKS: usize = 10_000;
    within_deadline_on_stack(512 << 10, || {
        let run = Builder::new().domains(1).run(async {
            let mutex = Arc::new(Mutex::new(()));
            let guard = mutex.lock().await;
            let done = Arc::new(Queue::<()>::unbounded());
            let parents: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (mutex, done) = (Arc::clone(&mutex), Arc::clone(&done));
                    spawn(async move {
                        let child = shield(async move { assert!(done.pop().await.is_err()) });
                        let _guard = mutex.lock().await;
                        let _ = child.await;
                    })
                })
                .collect();
            waiters(&mutex, TASKS).await;
            let lock = Arc::clone(&mutex);
            let last = spawn(async move { drop(lock.lock().await) });
            waiters(&mutex, TASKS + 1).await;
            let cancelled: Vec<_> = parents.into_iter().map(|parent| parent.cancel()).collect();
            drop(guard);
            last.await?;
            done.close();
            for parent in cancelled {
                parent.await;
            }
            Ok::<_, MainError>(())
        });
        run.expect("the run succeeds");
    });
}

#[test]
fn f13_runs_and_threads_that_share_a_mutex_pass_it_on() {
    static SHARED: Mutex<i32> = Mutex::new(0);
    let (shared, queue) = (&SHARED, Arc::new(Queue::<()>::unbounded()));
    // Dropped by this thread, outside both runs.
    let guard = shared.try_lock().expect("the mutex is unlocked");
    let end = Arc::clone(&queue);
    let careless = std::thread::spawn(move || {
        within_deadline(move || {
            let builder = Builder::new().domains(1).on_report(|_| ());
            let run = builder.run(async move {
                let mut set_aside = shared.lock();
                poll_once(&mut set_aside).await;
                assert!(end.pop().await.is_err());
                Ok::<_, MainError>(())
            });
            run.expect("the run succeeds");
        });
    });
    while shared.waiters() < 1 {
        std::thread::yield_now();
    }
    let other = std::thread::spawn(move || {
        within_deadline(move || {
            let run = Builder::new().domains(1).run(async move {
                *shared.lock().await += 1;
                Ok::<_, MainError>(())
            });
            run.expect("the run succeeds");
        });
    });
    while shared.waiters() < 2 {
        std::thread::yield_now();
    }
    drop(guard);
    other.join().expect("the other run has the lock");
    queue.close();
    careless.join().expect("the run ends");
}
