//! What tasks survive: SCENARIOS.md 5.1, the rows about polls, drops, panics, sizes and depths.
//!
//! Each test counts polls and drops; where a run ends, its memory has to be gone as well.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::Duration;

use matou_runtime::{
    Builder, Forgotten, Promise, RunError, TaskError, await_all, await_first, call, parallel, race,
    sleep, spawn, timeout, try_spawn, yield_now,
};

use crate::support::{
    Counter, CountsDrop, Latch, Log, PanicsOnDrop, Place, count_polls, monitored,
    rerun_in_child_process, run_on, run_with, within_deadline_on_stack,
};

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// The message of the panic of `f`.
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
                turns(10).await;
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
fn t5_a_waker_of_a_task_that_is_over_does_nothing_and_leaks_nothing() {
    for cancelled in [false, true] {
        let (builder, monitor) = monitored();
        let (polls, drops) = (Counter::new(), Counter::new());
        run_with(builder.domains(1), {
            let (polls, drops) = (polls.clone(), drops.clone());
            move || async move {
                let latch = Latch::new();
                let witness = CountsDrop(drops);
                let mut waits = latch.clone();
                let child = spawn(count_polls(
                    &polls,
                    poll_fn(move |cx| {
                        let _moved = &witness;
                        Pin::new(&mut waits).poll(cx)
                    }),
                ));
                yield_now().await;
                let waker = latch.waker().expect("it was polled");
                if cancelled {
                    assert_eq!(child.cancel().await, None);
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
                turns(5).await;
                assert_eq!(polls.get(), polled);
                Ok(())
            }
        })
        .unwrap();
        assert_eq!(drops.get(), 1);
        monitor.assert_freed();
    }
}

/// On x86 the hardware hides a missing ordering; a lost wake it does not hide.
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
        writer.join().expect("the writer");
        Ok(())
    })
    .unwrap();
}

#[test]
fn t7_a_task_cancelled_while_it_runs_elsewhere_is_dropped_after_that_poll() {
    let log = Log::new();
    run_on(2, {
        let log = log.clone();
        move || async move {
            let (entered, has_entered) = mpsc::channel();
            let (go, may_go) = mpsc::channel::<()>();
            let inside = log.clone();
            let child = call(move || async move {
                let _witness = inside.on_drop("dropped");
                poll_fn::<(), _>(move |_| {
                    entered.send(()).expect("the parent waits");
                    may_go.recv().expect("the parent sends");
                    inside.push("poll over");
                    Poll::Pending
                })
                .await;
            })?;
            has_entered.recv()?;
            let cancel = child.cancel();
            log.assert_is(&[]);
            go.send(())?;
            assert_eq!(cancel.await, None);
            log.push("cancel returned");
            Ok(())
        }
    })
    .unwrap();
    log.assert_is(&["poll over", "dropped", "cancel returned"]);
}

/// Belongs to a thread, and knows if it is dropped by another one.
struct Bound {
    home: ThreadId,
    at_home: Counter,
    _not_send: Rc<()>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if thread::current().id() == self.home {
            self.at_home.add();
        }
    }
}

#[test]
fn t8_a_task_bound_to_its_thread_is_dropped_there_whoever_wakes_or_cancels_it() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 300;
    let (builder, monitor) = monitored();
    let at_home = Counter::new();
    let builder = builder.domains(1).forgotten(Forgotten::Cancel);
    run_with(builder, {
        let at_home = at_home.clone();
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
                    let bound = Bound {
                        home: thread::current().id(),
                        at_home: at_home.clone(),
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
                at_home.reaches(round * THREADS).await;
            }
            drop(senders);
            for thread in threads {
                thread.join().expect("no thread panics");
            }
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(at_home.get(), THREADS * ROUNDS);
    monitor.assert_freed();
}

#[test]
fn t9_a_panic_in_a_poll_surfaces_at_the_awaiter_and_the_others_go_on() {
    for place in Place::BOTH {
        run_on(place.domains(), move || async move {
            let before = place.spawn(|| async {
                turns(20).await;
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

const MANY: usize = 1_000;

/// A thousand children that wait for ever; the drop of the one in the middle panics.
fn a_thousand(place: Place, started: &Counter, drops: &Counter) -> Vec<Promise<()>> {
    (0..MANY)
        .map(|n| {
            let (started, drops) = (started.clone(), CountsDrop(drops.clone()));
            place.spawn(move || async move {
                let _counted = drops;
                let _panics = if n == MANY / 2 { Some(PanicsOnDrop) } else { None };
                started.add();
                pending().await
            })
        })
        .collect()
}

#[test]
fn t11_one_drop_of_a_thousand_panics_when_they_are_cancelled() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let started = Counter::new();
                let promises = a_thousand(place, &started, &drops);
                started.reaches(MANY).await;
                let cancels: Vec<_> = promises.into_iter().map(Promise::cancel).collect();
                for cancel in cancels {
                    assert_eq!(cancel.await, None);
                }
                assert_eq!(drops.get(), MANY);
                assert_eq!(place.spawn(|| async { 7 }).await?, 7);
                Ok(())
            }
        })
        .unwrap();
        monitor.assert_freed();
    }
}

#[test]
fn t11_one_drop_of_a_thousand_panics_at_the_end_of_the_run() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        let result: Result<(), _> = run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let started = Counter::new();
                let _promises = a_thousand(place, &started, &drops);
                started.reaches(MANY).await;
                Err("enough".into())
            }
        });
        assert_eq!(result.unwrap_err().to_string(), "main failed: enough");
        assert_eq!(drops.get(), MANY);
        monitor.assert_freed();
    }
}

/// In a process of its own, because what it shows is that the process goes on.
#[test]
fn t11_a_value_whose_drop_panics_is_dropped_although_nobody_takes_it() {
    rerun_in_child_process!();
    run_on(2, || async {
        let (entered, may_go) = (Counter::new(), Counter::new());
        let (inside, waits) = (entered.clone(), may_go.clone());
        let child = call(move || {
            poll_fn(move |_| {
                inside.add();
                // The promise is dropped in the middle of this very poll.
                while waits.get() == 0 {
                    thread::yield_now();
                }
                Poll::Ready(PanicsOnDrop)
            })
        })?;
        entered.reaches(1).await;
        // A branch that is given up drops its promise, and that is no fault.
        race(ready(()), async move { drop(child.await) }).await;
        may_go.add();
        Ok(())
    })
    .unwrap();
}

#[test]
fn t16_what_is_polled_again_after_its_end_panics_clearly() {
    run_on(1, || async {
        again("after it yielded its outcome", spawn(ready(1))).await;
        let cancel = spawn(pending::<()>()).cancel();
        again("`Cancel` is polled after it was ready", cancel).await;
        let first = await_first([spawn(ready(1)), spawn(pending())]);
        again("`AwaitFirst` is polled after it was ready", first).await;
        let all = await_all([spawn(ready(1)), spawn(ready(2))]);
        again("`AwaitAll` is polled after it was ready", all).await;
        again("`Race` is polled after it was ready", race(ready(1), pending())).await;
        let elapsed = timeout(Duration::ZERO, pending::<()>());
        again("`Timeout` is polled after it was ready", elapsed).await;
        Ok(())
    })
    .unwrap();
}

/// Waits for `future`, polls it once more, and wants a panic that says so.
async fn again(what: &str, future: impl Future) {
    let mut future = pin!(future);
    future.as_mut().await;
    let said = poll_fn(|cx| Poll::Ready(panic_of(|| future.as_mut().poll(cx).is_ready()))).await;
    assert!(said.contains(what), "it said: {said}");
}

#[test]
fn t16_a_sleep_may_be_polled_after_its_end() {
    run_on(1, || async {
        let mut sleeping = pin!(sleep(Duration::from_millis(1)));
        sleeping.as_mut().await;
        sleeping.as_mut().await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn t17_two_tasks_that_own_each_others_promise_are_both_freed() {
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let result: Result<(), _> = run_with(builder.domains(1), {
        let drops = drops.clone();
        move || async move {
            let shared: Rc<RefCell<Vec<Promise<()>>>> = Rc::default();
            let [left, right] = [(), ()].map(|()| {
                let (shared, drops) = (shared.clone(), CountsDrop(drops.clone()));
                spawn(async move {
                    let _counted = drops;
                    yield_now().await;
                    let _other = shared.borrow_mut().pop();
                    pending().await
                })
            });
            // The first to run takes the second one's promise, and the other way round.
            shared.borrow_mut().extend([left, right]);
            turns(5).await;
            assert!(shared.borrow().is_empty());
            Err("the end of both".into())
        }
    });
    assert!(matches!(result, Err(RunError::Failed(_))));
    assert_eq!(drops.get(), 2);
    monitor.assert_freed();
}

#[test]
fn t17_a_task_that_owns_its_own_promise_is_freed() {
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let builder = builder.domains(1).forgotten(Forgotten::Cancel);
    let result: Result<(), _> = run_with(builder, {
        let drops = drops.clone();
        move || async move {
            let own: Rc<RefCell<Option<Promise<()>>>> = Rc::default();
            let (inside, counted) = (own.clone(), CountsDrop(drops.clone()));
            let child = spawn(async move {
                let _own = (inside, counted);
                pending().await
            });
            *own.borrow_mut() = Some(child);
            drop(own);
            yield_now().await;
            // Only the tree knows the child now, and the end of its parent ends it.
            Err("the end".into())
        }
    });
    assert!(matches!(result, Err(RunError::Failed(_))));
    assert_eq!(drops.get(), 1);
    monitor.assert_freed();
}

const MIB: usize = 1 << 20;
const SMALL_STACK: usize = 256 << 10;

/// A future of one mebibyte that returns as much.
struct Large {
    body: [u8; MIB],
    outcome: Option<Box<[u8; MIB]>>,
}

impl Future for Large {
    type Output = Box<[u8; MIB]>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Box<[u8; MIB]>> {
        if self.body[0] == 0 {
            self.body[0] = 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.outcome.take().expect("polled to its end once"))
    }
}

impl Large {
    fn boxed() -> Pin<Box<Large>> {
        let outcome = Some(Box::new([7; MIB]));
        Box::pin(Large { body: [0; MIB], outcome })
    }
}

/// Large values are boxed where they are made: `spawn` and `call` take futures and outcomes by
/// value. Once boxed, nothing moves them onto the stack again.
#[test]
fn t18_a_boxed_future_and_outcome_of_a_mebibyte_pass_through_a_small_stack() {
    // Making them needs the stack that running them must not need.
    let large = with_a_large_stack(|| [Large::boxed(), Large::boxed()]);
    within_deadline_on_stack(SMALL_STACK, move || {
        let result: Result<(), RunError> = Builder::new().domains(2).run(async move {
            let [here, away] = large;
            let outcome = spawn(here).await?;
            assert_eq!(outcome.len(), MIB);
            let echoed = call(move || async move { (away.await, outcome) })?.await?;
            assert_eq!((echoed.0[MIB - 1], echoed.1[MIB - 1]), (7, 7));
            Ok(())
        });
        result.unwrap();
    });
}

/// Calls `make` where there is room for it.
fn with_a_large_stack<R: Send + 'static>(make: impl FnOnce() -> R + Send + 'static) -> R {
    within_deadline_on_stack(64 * MIB, make)
}

#[test]
fn t19_a_chain_of_a_hundred_thousand_awaits_completes_on_a_small_stack() {
    const DEPTH: usize = 100_000;
    let deepest = Counter::new();
    let seen = deepest.clone();
    within_deadline_on_stack(SMALL_STACK, move || {
        let builder = Builder::new().domains(1);
        let result: Result<usize, RunError> =
            builder.run(async move { Ok(link(DEPTH, seen).await?) });
        assert_eq!(result.unwrap(), DEPTH);
    });
    assert_eq!(deepest.get(), 1);
}

/// A task that awaits a task that awaits a task ..; returns how many there are.
fn link(depth: usize, deepest: Counter) -> Promise<usize> {
    spawn(async move {
        if depth == 1 {
            deepest.add();
            return 1;
        }
        link(depth - 1, deepest).await.expect("none of them fails") + 1
    })
}

#[test]
fn t19_a_chain_of_a_hundred_thousand_awaits_is_dropped_on_a_small_stack() {
    const DEPTH: usize = 100_000;
    let (builder, monitor) = monitored();
    let deepest = Latch::new();
    let drops = Counter::new();
    let counted = drops.clone();
    within_deadline_on_stack(SMALL_STACK, move || {
        let result: Result<(), RunError> = builder.domains(1).run(async move {
            let chain = endless_link(DEPTH, deepest.clone(), counted);
            while deepest.waker().is_none() {
                yield_now().await;
            }
            assert_eq!(chain.cancel().await, None);
            Ok(())
        });
        result.unwrap();
    });
    assert_eq!(drops.get(), DEPTH);
    monitor.assert_freed();
}

fn endless_link(depth: usize, deepest: Latch, drops: Counter) -> Promise<()> {
    spawn(async move {
        let _counted = CountsDrop(drops.clone());
        if depth == 1 {
            deepest.await;
        } else {
            endless_link(depth - 1, deepest, drops).await.ok();
        }
    })
}

#[test]
fn t21_an_iterator_that_panics_in_the_middle_leaves_a_run_that_works() {
    let drops = Counter::new();
    run_on(3, {
        let drops = drops.clone();
        move || async move {
            let broken = || (0..10).inspect(|&n| assert!(n < 5, "an iterator that panics"));
            let counted = drops.clone();
            let said = panic_of(|| {
                parallel(broken(), move |_| {
                    let counted = CountsDrop(counted.clone());
                    async move {
                        let _counted = counted;
                        pending::<()>().await
                    }
                })
            });
            assert_eq!(said, "an iterator that panics");
            let said = panic_of(|| await_all(broken().map(|_| spawn(pending::<()>()))));
            assert_eq!(said, "an iterator that panics");
            let squares = parallel(1..=4, |n: u32| async move { n * n })?.await;
            let squares: Result<Vec<u32>, _> = squares.into_iter().collect();
            assert_eq!(squares?, [1, 4, 9, 16]);
            Ok(())
        }
    })
    .unwrap();
    // Five closures went off, some of them before they were cancelled; none is left.
    assert!(drops.get() <= 5);
}

#[test]
fn t22_a_task_that_fails_under_the_runtimes_hands_poisons_nothing() {
    run_on(2, || async {
        // A closure of the program that the runtime calls while it makes a child.
        let broken = call(|| -> std::future::Ready<()> { panic!("a make that panics") })?;
        assert!(broken.await.unwrap_err().is_panicked());
        let failed = try_spawn(async { Err::<(), _>("no") }).await;
        assert!(matches!(failed, Err(TaskError::Failed("no"))));
        assert_eq!(call(|| async { 7 })?.await?, 7);
        Ok(())
    })
    .unwrap();
}
