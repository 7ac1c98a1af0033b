//! Goal: an offer is good for one poll. A future that was set aside blocks no other task.
//! Method: programs that hang if an offer is not declined, on threads, where the deadline of the
//! test is the assertion, and simulated, where a hang is a deadlock.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::select;
use matou_runtime::test::Check;
use matou_runtime::{Builder, Diagnostic, Finding, MainError, yield_now};
use matou_sync::futures::Lock;
use matou_sync::{Condition, Mutex, Queue, RwLock, Semaphore};

use crate::support::{
    Counter, OFFER_SEEDS, Place, Reports, everywhere, run_with, waiters, within_deadline,
};

/// Polls a future that has to wait once, and returns.
async fn poll_once<F: Future + Unpin>(future: &mut F) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A task polls a lock once and keeps it, and another task waits behind it for the same mutex.
async fn a_bystander_gets_the_lock(
    place: Place,
    poll: fn(&mut Lock<'_, ()>, &mut Context<'_>) -> Poll<()>,
) -> Result<(), MainError> {
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock().await;
    let lock = Arc::clone(&mutex);
    let careless = place.spawn(move || async move {
        let mut kept = lock.lock();
        poll_fn(|cx| poll(&mut kept, cx)).await;
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
}

#[test]
fn f13_a_lock_that_was_set_aside_does_not_block_another_task() {
    everywhere(|place| {
        a_bystander_gets_the_lock(place, |lock, cx| {
            assert!(Pin::new(lock).poll(cx).is_pending());
            Poll::Ready(())
        })
    });
}

/// The waker that is called wakes no task.
#[test]
fn f13_a_lock_that_was_polled_with_another_waker_and_kept_blocks_no_task() {
    everywhere(|place| {
        a_bystander_gets_the_lock(place, |lock, _| {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(lock).poll(cx).is_pending());
            Poll::Ready(())
        })
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
        for seed in OFFER_SEEDS {
            let reports = Reports::default();
            let simulated = Check::simulated().on_report(reports.hook());
            simulated.trial(seed, program(place)).outcome.expect("the run succeeds");
            if place == Place::Local {
                check(reports.all());
            }
        }
    }
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

/// One permit is free, but reserved for the large request.
#[test]
fn f13_a_large_request_that_was_set_aside_keeps_no_small_one_waiting() {
    everywhere(|place| async move {
        let semaphore = Arc::new(Semaphore::new(1));
        let kept = Arc::clone(&semaphore);
        let careless = place.spawn(move || async move {
            let mut large = kept.acquire_many(2);
            poll_once(&mut large).await;
            pending::<()>().await;
        });
        while semaphore.waiters() != 1 {
            yield_now().await;
        }
        let small = Arc::clone(&semaphore);
        let bystander = place.spawn(move || async move { drop(small.acquire().await) });
        bystander.await?;
        careless.cancel().await;
        Ok(())
    });
}

#[test]
fn f13_a_writer_that_was_set_aside_keeps_no_reader_waiting() {
    everywhere(|place| async move {
        let lock = Arc::new(RwLock::new(()));
        let reading = lock.read().await;
        let kept = Arc::clone(&lock);
        let careless = place.spawn(move || async move {
            let mut write = kept.write();
            poll_once(&mut write).await;
            pending::<()>().await;
        });
        while lock.waiters() != 1 {
            yield_now().await;
        }
        let shared = Arc::clone(&lock);
        let bystander = place.spawn(move || async move { drop(shared.read().await) });
        bystander.await?;
        drop(reading);
        careless.cancel().await;
        Ok(())
    });
}
