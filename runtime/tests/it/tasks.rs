//! Goal: tasks survive spurious wake-ups, late wake-ups, panics and polls after completion
//! (scenarios T4 to T9, T16, T21, T22).
//! Method: polls and drops are counted. Where a test monitors its run, the memory of the run must
//! be freed.

use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;

use matou_runtime::{
    Forgotten, Promise, TaskError, abandon, await_all, await_first, call, deadline, now, parallel,
    race, race_all, shield, sleep, spawn, timeout, try_spawn, yield_now,
};

use crate::support::{
    Counter, CountsDrop, Latch, Log, Place, count_polls, monitored, run_on, run_with,
};

async fn yield_times(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// The message with which `f` panics.
#[track_caller]
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let payload = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().unwrap().to_string(),
    }
}

#[test]
fn t4_a_task_that_wakes_itself_is_polled_once_more() {
    for wakes in [1, 100] {
        let polls = Counter::new();
        run_on(1, {
            let polls = polls.clone();
            move || async move {
                let latch = Latch::new();
                let mut first = true;
                let mut waits = latch.clone();
                let child = spawn(count_polls(
                    &polls,
                    poll_fn(move |cx| {
                        if std::mem::take(&mut first) {
                            (0..wakes).for_each(|_| cx.waker().wake_by_ref());
                        }
                        Pin::new(&mut waits).poll(cx)
                    }),
                ));
                yield_times(10).await;
                assert_eq!(polls.get(), 2, "after {wakes} wakes");
                latch.open();
                Ok(child.await?)
            }
        })
        .unwrap();
        assert_eq!(polls.get(), 3);
    }
}

#[test]
fn t5_a_waker_of_a_complete_task_does_nothing_and_leaks_nothing() {
    for cancelled in [false, true] {
        let (builder, monitor) = monitored();
        let (polls, drops) = (Counter::new(), Counter::new());
        run_with(builder.domains(1), {
            let (polls, drops) = (polls.clone(), drops.clone());
            move || async move {
                let latch = Latch::new();
                let guard = CountsDrop(drops);
                let mut waits = latch.clone();
                let child = spawn(count_polls(
                    &polls,
                    poll_fn(move |cx| {
                        let _moved = &guard;
                        Pin::new(&mut waits).poll(cx)
                    }),
                ));
                yield_now().await;
                let waker = latch.waker().expect("it was polled");
                if cancelled {
                    assert!(child.cancel().await.is_none());
                } else {
                    latch.open();
                    child.await?;
                }
                let polled = polls.get();
                waker.wake_by_ref();
                drop(waker.clone());
                let by_value = waker.clone();
                by_value.wake();
                waker.wake();
                yield_times(5).await;
                assert_eq!(polls.get(), polled);
                Ok(())
            }
        })
        .unwrap();
        assert_eq!(drops.get(), 1);
        monitor.assert_freed();
    }
}

/// x86 hides a missing memory ordering, but not a lost wake-up.
#[test]
fn t6_the_last_write_before_a_wake_is_seen() {
    const WRITES: usize = 20_000;
    run_on(1, || async {
        let value = Arc::new(AtomicUsize::new(0));
        let latch = Latch::new();
        let (mut waits, seen) = (latch.clone(), value.clone());
        let child = spawn(poll_fn(move |cx| {
            let _registered = Pin::new(&mut waits).poll(cx);
            match seen.load(Ordering::Relaxed) {
                WRITES => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }));
        yield_now().await;
        let waker = latch.waker().expect("it was polled");
        let writer = thread::spawn(move || {
            for write in 1..=WRITES {
                value.store(write, Ordering::Relaxed);
                waker.wake_by_ref();
            }
        });
        child.await?;
        writer.join().expect("the writer does not panic");
        Ok(())
    })
    .unwrap();
}

#[test]
fn t7_a_task_cancelled_during_a_poll_on_another_domain_is_dropped_after_that_poll() {
    let log = Log::new();
    run_on(2, {
        let log = log.clone();
        move || async move {
            let (entered, has_entered) = mpsc::channel();
            let (go, may_go) = mpsc::channel::<()>();
            let inside = log.clone();
            let child = call(move || async move {
                let _guard = inside.on_drop("dropped");
                poll_fn::<(), _>(move |_| {
                    entered.send(()).expect("the parent waits");
                    may_go.recv().expect("the parent sends");
                    inside.push("poll has returned");
                    Poll::Pending
                })
                .await;
            })?;
            has_entered.recv()?;
            let cancel = child.cancel();
            log.assert_is(&[]);
            go.send(())?;
            assert!(cancel.await.is_none());
            log.push("cancel returned");
            Ok(())
        }
    })
    .unwrap();
    log.assert_is(&["poll has returned", "dropped", "cancel returned"]);
}

/// A value of one thread, which counts its drop if that thread drops it.
struct ThreadBound {
    home: ThreadId,
    dropped_at_home: Counter,
    _not_send: Rc<()>,
}

impl Drop for ThreadBound {
    fn drop(&mut self) {
        if thread::current().id() == self.home {
            self.dropped_at_home.add();
        }
    }
}

#[test]
fn t8_a_future_that_is_not_send_is_dropped_on_its_own_thread() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 300;
    let (builder, monitor) = monitored();
    let dropped_at_home = Counter::new();
    let builder = builder.domains(1).forgotten(Forgotten::Cancel);
    run_with(builder, {
        let dropped_at_home = dropped_at_home.clone();
        move || async move {
            let barrier = Arc::new(Barrier::new(THREADS));
            let mut senders = Vec::new();
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (sender, receiver) = mpsc::channel::<(Latch, Promise<()>)>();
                    senders.push(sender);
                    let barrier = barrier.clone();
                    thread::spawn(move || {
                        for (latch, promise) in receiver {
                            barrier.wait();
                            latch.waker().into_iter().for_each(|waker| waker.wake());
                            drop(promise);
                            latch.waker().into_iter().for_each(|waker| waker.wake());
                        }
                    })
                })
                .collect();
            for round in 1..=ROUNDS {
                for sender in &senders {
                    let latch = Latch::new();
                    let bound = ThreadBound {
                        home: thread::current().id(),
                        dropped_at_home: dropped_at_home.clone(),
                        _not_send: Rc::new(()),
                    };
                    let waits = latch.clone();
                    let promise = spawn(async move {
                        let _bound = bound;
                        waits.await;
                    });
                    if round % 2 == 0 {
                        yield_now().await;
                    }
                    sender.send((latch, promise))?;
                }
                dropped_at_home.reaches(round * THREADS).await;
            }
            drop(senders);
            for thread in threads {
                thread.join().expect("no thread panics");
            }
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(dropped_at_home.get(), THREADS * ROUNDS);
    monitor.assert_freed();
}

#[test]
fn t9_a_panic_in_a_poll_reaches_the_awaiter_and_other_tasks_continue() {
    for place in Place::BOTH {
        run_on(place.domains(), move || async move {
            let before = place.spawn(|| async {
                yield_times(20).await;
                1
            });
            let broken = place.spawn(|| async {
                yield_now().await;
                panic!("a poll that panics");
            });
            let after = place.spawn(|| async { 2 });
            match broken.await {
                Err(TaskError::Panicked(panic)) => {
                    assert_eq!(panic.message(), "a poll that panics");
                    assert!(panic.location().unwrap().contains("tasks.rs"));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(before.await? + after.await?, 3);
            let later = place.spawn(|| async { 7 });
            assert_eq!(later.await?, 7);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn t16_a_future_polled_after_completion_panics_with_the_line_that_created_it() {
    run_on(1, || async {
        poll_again("a promise", spawn(ready(1))).await;
        poll_again("`Cancel`", spawn(pending::<()>()).cancel()).await;
        poll_again("`AwaitFirst`", await_first([spawn(ready(1)), spawn(pending())])).await;
        poll_again("`AwaitAll`", await_all([spawn(ready(1)), spawn(ready(2))])).await;
        poll_again("`Race`", race(ready(1), pending())).await;
        poll_again("`RaceAll`", race_all([ready(1), ready(2)])).await;
        poll_again("`Abandon`", abandon(yield_now())).await;
        poll_again("`Shield`", shield(ready(1))).await;
        poll_again("`Timeout`", timeout(Duration::ZERO, pending::<()>())).await;
        poll_again("`Deadline`", deadline(now(), pending::<()>())).await;
        Ok(())
    })
    .unwrap();
}

/// Awaits `future`, which this file has created, polls it once more, and expects a panic that says
/// so.
async fn poll_again(name: &str, future: impl Future) {
    let mut future = pin!(future);
    future.as_mut().await;
    let message = poll_fn(|cx| Poll::Ready(panic_of(|| future.as_mut().poll(cx).is_ready()))).await;
    let expected = format!("{name} polled after completion; created at {}:", file!());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn t16_a_sleep_may_be_polled_after_completion() {
    run_on(1, || async {
        let mut sleeping = pin!(sleep(Duration::from_millis(1)));
        sleeping.as_mut().await;
        sleeping.as_mut().await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn t21_an_iterator_that_panics_does_not_stop_the_run() {
    let (made, drops) = (Counter::new(), Counter::new());
    run_on(3, {
        let (made, drops) = (made.clone(), drops.clone());
        move || async move {
            let broken = || (0..10).inspect(|&n| assert!(n < 5, "an iterator that panics"));
            let counted = drops.clone();
            let message = panic_of(|| {
                parallel(broken(), move |_| {
                    made.add();
                    let counted = CountsDrop(counted.clone());
                    async move {
                        let _counted = counted;
                        pending::<()>().await
                    }
                })
            });
            assert_eq!(message, "an iterator that panics");
            let message = panic_of(|| await_all(broken().map(|_| spawn(pending::<()>()))));
            assert_eq!(message, "an iterator that panics");
            let squares = parallel(1..=4, |n: u32| async move { n * n })?.await;
            let squares: Result<Vec<u32>, _> = squares.into_iter().collect();
            assert_eq!(squares?, [1, 4, 9, 16]);
            Ok(())
        }
    })
    .unwrap();
    // At most five closures were called, because the iterator panicked after them. Each of their
    // futures is dropped.
    assert!(made.get() <= 5);
    assert_eq!(drops.get(), made.get());
}

#[test]
fn t22_a_panic_in_a_call_closure_poisons_nothing() {
    run_on(2, || async {
        // The runtime calls this closure when it spawns the child.
        let broken = call(|| -> std::future::Ready<()> { panic!("a make that panics") })?;
        assert!(broken.await.unwrap_err().is_panicked());
        let failed = try_spawn(async { Err::<(), _>("no") }).await;
        assert!(matches!(failed, Err(TaskError::Failed { error: "no", .. })));
        assert_eq!(call(|| async { 7 })?.await?, 7);
        Ok(())
    })
    .unwrap();
}
