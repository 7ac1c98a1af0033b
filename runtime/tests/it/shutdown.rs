//! Goal: a run ends only by the end of its root, which waits for the whole tree (scenarios X1 to
//! X3, X8 to X10, X12).
//! Method: tasks that wake, read and finalize while the run ends. Drops are counted, and the memory
//! of the run must be freed.

use std::cell::RefCell;
use std::future::{pending, poll_fn};

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{
    Forgotten, IoSource, MainError, Orphans, Promise, RunError, Task, TaskError, Violation, call,
    spawn, yield_now,
};

use crate::support::{
    Counter, CountsDrop, Log, Place, io_pair, monitored, poll_read_byte, run_on, run_with, strict,
    violation,
};

/// The error of a main task that ends before its children.
fn fail<T>() -> Result<T, MainError> {
    Err("on purpose".into())
}

#[track_caller]
fn assert_failed<T: std::fmt::Debug>(result: Result<T, RunError>) {
    match result {
        Err(RunError::Failed(error)) => assert_eq!(error.to_string(), "on purpose"),
        other => panic!("{other:?}"),
    }
}

/// Wakes all tasks when it is dropped.
struct WakesAll(Arc<Mutex<Vec<Waker>>>, Counter);

impl Drop for WakesAll {
    fn drop(&mut self) {
        self.1.add();
        let wakers = self.0.lock().unwrap().clone();
        wakers.iter().for_each(Waker::wake_by_ref);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[test]
fn x1_drops_may_wake_other_tasks_while_the_run_ends() {
    const TASKS: usize = 100;
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let result: Result<(), _> = run_with(builder.domains(3), {
        let (drops, wakers) = (drops.clone(), wakers.clone());
        move || async move {
            let started = Counter::new();
            let mut promises = Vec::new();
            for n in 0..TASKS {
                let guard = WakesAll(wakers.clone(), drops.clone());
                let started = started.clone();
                let place = Place::BOTH[n % 2];
                promises.push(place.spawn(move || async move {
                    let guard = guard;
                    let noted = poll_fn(|cx| {
                        guard.0.lock().unwrap().push(cx.waker().clone());
                        Poll::Ready(())
                    });
                    noted.await;
                    started.add();
                    pending::<()>().await
                }));
            }
            started.reaches(TASKS).await;
            fail()
        }
    });
    assert_failed(result);
    assert_eq!(drops.get(), TASKS);
    wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    monitor.assert_freed();
}

/// Makes the descriptor of the next task readable and closes its own when it is dropped.
struct WritesToNext {
    own: IoSource,
    next: UnixStream,
    drops: Counter,
}

impl Drop for WritesToNext {
    fn drop(&mut self) {
        self.drops.add();
        // The peer may be closed already.
        let _ = self.next.write_all(b"m");
        assert!(self.own.close());
    }
}

#[test]
fn x2_descriptors_may_become_ready_while_the_run_ends() {
    const TASKS: usize = 50;
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        let result: Result<(), _> = run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let (ios, mut peers): (Vec<_>, Vec<_>) = (0..TASKS).map(|_| io_pair()).unzip();
                peers.rotate_left(1);
                let started = Counter::new();
                let mut promises = Vec::new();
                for (own, next) in ios.into_iter().zip(peers) {
                    let (drops, started) = (drops.clone(), started.clone());
                    promises.push(place.spawn(move || async move {
                        let guard = WritesToNext { own, next, drops };
                        let mut begun = false;
                        poll_fn(|cx| {
                            let read = poll_read_byte(&guard.own, cx);
                            if !std::mem::replace(&mut begun, true) {
                                assert!(read.is_pending());
                                started.add();
                            }
                            // It ignores what it reads and stays until it is cancelled.
                            Poll::<()>::Pending
                        })
                        .await
                    }));
                }
                started.reaches(TASKS).await;
                fail()
            }
        });
        assert_failed(result);
        assert_eq!(drops.get(), TASKS);
        monitor.assert_freed();
    }
}

static LOCK: Mutex<()> = Mutex::new(());

/// Holds a blocking lock until it is dropped.
struct HoldsLock(#[expect(dead_code, reason = "a guard")] MutexGuard<'static, ()>);

/// Takes the blocking lock when it is dropped.
struct LocksOnDrop;

impl Drop for LocksOnDrop {
    fn drop(&mut self) {
        drop(LOCK.lock());
    }
}

/// A drop may take a lock that a task holds if that task was cancelled before. In the opposite
/// order the drop would block its domain forever: drops must not take blocking locks that are held
/// across an await.
#[test]
fn x3_siblings_are_dropped_in_the_order_of_their_cancel_requests() {
    let log = Log::new();
    let kept: Arc<Mutex<Vec<Promise<()>>>> = Arc::default();
    let result: Result<(), _> = run_on(1, {
        let (log, kept) = (log.clone(), kept.clone());
        move || async move {
            let sibling = |name| {
                let witness = log.on_drop(name);
                spawn(async move {
                    let _witness = witness;
                    pending::<()>().await
                })
            };
            // The end of the parent cancels these, oldest first: the holder of the lock before the
            // task that takes it.
            let holder = spawn(async move {
                let _held = HoldsLock(LOCK.lock().unwrap());
                pending::<()>().await
            });
            let taker = spawn(async move {
                let _taken = LocksOnDrop;
                pending::<()>().await
            });
            kept.lock().unwrap().extend([holder, taker, sibling("fifth"), sibling("sixth")]);
            // `cancel` cancels this child; the drops of the local variables, in Rust's order,
            // cancel the others.
            let first = sibling("first");
            let (_fourth, _third, _second) =
                (sibling("fourth"), sibling("third"), sibling("second"));
            yield_now().await;
            let _cancelled = first.cancel();
            fail()
        }
    });
    assert_failed(result);
    log.assert_is(&["first", "second", "third", "fourth", "fifth", "sixth"]);
}

#[test]
fn x8_a_call_may_race_with_its_cancellation() {
    const CALLS: usize = 500;
    let (builder, monitor) = monitored();
    let (made, dropped) = (Counter::new(), Counter::new());
    let (values, taken) = (made.clone(), dropped.clone());
    let returned = run_with(builder.domains(3), move || async move {
        let mut returned = 0;
        for n in 0..CALLS {
            let (made, dropped) = (values.clone(), CountsDrop(taken.clone()));
            let child = call(move || {
                made.add();
                async move {
                    let _counted = dropped;
                    n
                }
            })?;
            for _ in 0..n % 7 {
                yield_now().await;
            }
            match child.cancel().await {
                Some(Ok(value)) => {
                    returned += 1;
                    assert_eq!(value, n);
                }
                None => assert!(taken.get() == n + 1, "it is dropped when `cancel` returns"),
                Some(Err(error)) => panic!("{error}"),
            }
        }
        Ok(returned)
    })
    .unwrap();
    assert!(returned <= made.get() && made.get() <= CALLS);
    assert_eq!(dropped.get(), CALLS);
    monitor.assert_freed();
}

#[test]
fn x8_calls_that_race_with_the_end_of_the_run_are_dropped_before_it_returns() {
    for round in 0..100 {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        let result: Result<(), _> = run_with(builder.domains(3), move || async move {
            let mut promises = Vec::new();
            for _ in 0..10 {
                let dropped = CountsDrop(counted.clone());
                promises.push(call(move || async move {
                    let _counted = dropped;
                    pending::<()>().await
                })?);
            }
            for _ in 0..round % 5 {
                yield_now().await;
            }
            fail()
        });
        assert_failed(result);
        assert_eq!(dropped.get(), 10);
        monitor.assert_freed();
    }
}

/// Ends a run while a task owns a resource whose finalizer yields so many times, or never returns.
fn run_with_finalizer(
    place: Place,
    grace: Duration,
    yields: Option<usize>,
) -> Result<(), RunError> {
    run_with(strict().domains(place.domains()).grace(grace), move || async move {
        let child = place.spawn(move || async move {
            let owned = Owned::with_async((), move |()| async move {
                match yields {
                    Some(yields) => {
                        for _ in 0..yields {
                            yield_now().await;
                        }
                    }
                    None => pending().await,
                }
            });
            drop(owned);
        });
        Ok(child.await?)
    })
}

#[test]
fn x9_the_grace_period_ends_a_finalizer_that_never_returns() {
    for place in Place::BOTH {
        for grace in [Duration::ZERO, Duration::from_millis(10)] {
            let violation = violation(run_with_finalizer(place, grace, None));
            assert!(matches!(violation, Violation::FinalizerUnfinished { .. }), "{violation}");
        }
    }
}

#[test]
fn x9_a_finalizer_within_the_grace_period_is_waited_for() {
    for place in Place::BOTH {
        run_with_finalizer(place, Duration::ZERO, Some(0)).unwrap();
        run_with_finalizer(place, Duration::from_secs(3600), Some(100)).unwrap();
        run_with_finalizer(place, Duration::MAX, Some(100)).unwrap();
    }
}

#[test]
fn x10_a_dropped_promise_does_not_detach_its_task_from_the_run() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        let builder = builder.domains(place.domains()).forgotten(Forgotten::Cancel);
        run_with(builder, move || async move {
            for _ in 0..10 {
                let dropped = CountsDrop(counted.clone());
                drop(place.spawn(move || async move {
                    let _counted = dropped;
                    pending::<()>().await
                }));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(dropped.get(), 10);
        monitor.assert_freed();
    }
}

#[test]
fn x10_a_group_that_still_holds_children_does_not_detach_them() {
    let dropped = Counter::new();
    let counted = dropped.clone();
    let result: Result<(), _> = run_on(1, move || async move {
        let orphans: Orphans<()> = Orphans::new();
        for _ in 0..10 {
            let dropped = CountsDrop(counted.clone());
            let child = async move {
                let _counted = dropped;
                pending().await
            };
            Task::new().orphans(&orphans).spawn(child)?;
        }
        fail()
    });
    assert_failed(result);
    assert_eq!(dropped.get(), 10);
}

#[test]
fn x12_a_parent_that_fails_cancels_its_children_and_the_run_ends() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        run_with(builder.domains(place.domains()), move || async move {
            let inside = counted.clone();
            let parent = place.try_spawn(move || async move {
                let started = Counter::new();
                let children: Vec<_> = Place::BOTH
                    .into_iter()
                    .filter(|&child| child == Place::Local || place == Place::Remote)
                    .map(|child| {
                        let (dropped, started) = (CountsDrop(inside.clone()), started.clone());
                        child.spawn(move || async move {
                            let _counted = dropped;
                            started.add();
                            pending::<()>().await
                        })
                    })
                    .collect();
                started.reaches(children.len()).await;
                Err::<(), _>("the parent fails")
            });
            let outcome = parent.await;
            assert!(matches!(outcome, Err(TaskError::Failed { error: "the parent fails", .. })));
            let children = if place == Place::Remote { 2 } else { 1 };
            assert_eq!(counted.get(), children, "they are dropped before the outcome");
            Ok(())
        })
        .unwrap();
        monitor.assert_freed();
    }
}

/// A task holds the last reference to a task that was dropped before.
#[test]
fn x1_tasks_that_hold_each_others_wakers_are_freed() {
    let (builder, monitor) = monitored();
    let result: Result<(), _> = run_with(builder.domains(1), || async {
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let mut promises = Vec::new();
        for _ in 0..10 {
            let wakers = wakers.clone();
            promises.push(spawn(poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })));
        }
        yield_now().await;
        assert_eq!(wakers.borrow().len(), 10);
        let mut first = promises.swap_remove(0);
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        fail()
    });
    assert_failed(result);
    monitor.assert_freed();
}
