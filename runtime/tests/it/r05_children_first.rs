//! R5: cancellation takes effect at a suspension point, children first.
//!
//! A cancelled task is polled no more; its children end; then its future is dropped, on its own
//! domain; then its resources are finalized; then its parent is woken. Method: each of these
//! enters itself into a log, and the ends of the children are slow.

use std::future::{Future, pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};

use matou_runtime::{Promise, Task, call, spawn, yield_now};

use crate::support::*;

const STEPS: usize = 60;

#[test]
fn the_order_is_children_future_resources_parent() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let (task_log, begun) = (log.clone(), Counter::new());
            let task_begun = begun.clone();
            let task = spawn(async move {
                let log = task_log;
                lose(log.resource("older resource"));
                lose(log.slow_resource("newer resource", STEPS));
                let _guard = log.witness("guard of the parent");
                let (child_log, child_begun) = (log.clone(), task_begun.clone());
                let _child = place.spawn(move || async move {
                    let _guard = child_log.witness("guard of the child");
                    let _resource = child_log.slow_resource("resource of the child", STEPS);
                    child_begun.add();
                    pending::<()>().await;
                });
                pending::<()>().await;
            });
            begun.reaches(1).await;
            assert_eq!(task.cancel().await, None);
            log.push("parent sees it");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&[
            "guard of the child",
            "resource of the child",
            "guard of the parent",
            "newer resource",
            "older resource",
            "parent sees it",
        ]);
    }
}

#[test]
fn guards_outlive_all_descendants_over_several_domains() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(3, move || async move {
        let (log, begun) = (main_log, Counter::new());
        let (task_log, task_begun) = (log.clone(), begun.clone());
        let task = call(move || async move {
            let _guard = task_log.witness("first level");
            let (log, begun) = (task_log.clone(), task_begun);
            let _second = call(move || async move {
                let _guard = log.witness("second level");
                let (third_log, begun) = (log.clone(), begun);
                let _third = call(move || async move {
                    let _guard = third_log.witness("third level");
                    let _resource = third_log.slow_resource("third level's resource", STEPS);
                    begun.add();
                    pending::<()>().await;
                })
                .expect("another domain");
                pending::<()>().await;
            })
            .expect("another domain");
            pending::<()>().await;
        })?;
        begun.reaches(1).await;
        task.cancel().await;
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    log.assert_is(&["third level", "third level's resource", "second level", "first level"]);
}

#[test]
fn a_cancelled_task_is_not_polled_again_however_often_it_is_woken() {
    for place in Place::BOTH {
        let (polls, log) = (Counter::new(), Log::new());
        let (main_polls, main_log) = (polls.clone(), log.clone());
        let result = run_on(place.domains(), move || async move {
            let (polls, log) = (main_polls, main_log);
            let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
            let (task_slot, task_polls, task_log) = (slot.clone(), polls.clone(), log.clone());
            let task = place.spawn(move || {
                // The end of this child takes long; meanwhile the task is woken again and again.
                let child = async move {
                    let _resource = task_log.slow_resource("child", STEPS);
                    pending::<()>().await;
                };
                let mut child = Some(child);
                let mut promise: Option<Promise<()>> = None;
                poll_fn(move |cx| {
                    if promise.is_none() {
                        promise = child.take().map(spawn);
                    }
                    task_polls.add();
                    *task_slot.lock().expect("nobody panicked") = Some(cx.waker().clone());
                    Poll::<()>::Pending
                })
            });
            polls.reaches(1).await;
            yield_now().await;
            let polls_before = polls.get();
            let mut cancel = std::pin::pin!(task.cancel());
            let waker = slot.lock().expect("nobody panicked").clone().expect("it was polled");
            let ended = poll_fn(|cx| {
                waker.wake_by_ref();
                let ended = cancel.as_mut().poll(cx);
                cx.waker().wake_by_ref();
                ended
            });
            assert_eq!(ended.await, None);
            waker.wake();
            Ok(polls_before)
        });
        let polls_before = result.expect("no rule is broken");
        assert_eq!(polls.get(), polls_before);
        log.assert_is(&["child"]);
    }
}

#[test]
fn a_task_that_was_ready_to_go_on_is_not_polled_after_its_cancellation() {
    let resumed = Counter::new();
    let after = resumed.clone();
    let result = run_on(1, move || async move {
        let task = spawn(async move {
            yield_now().await;
            after.add();
        });
        yield_now().await;
        // It lies in the ready queue now, and is asked to end before its turn comes.
        task.cancel().await;
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(resumed.get(), 0);
}

#[test]
fn a_task_that_is_cancelled_before_its_first_poll_never_begins() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, guard) = (main_log.clone(), main_log.witness("dropped"));
            if place == Place::Away {
                // The domain is kept busy until the cancellation lies in its inbox behind the
                // child.
                let (held, free) = std::sync::mpsc::channel::<()>();
                let is_busy = Counter::new();
                let child_is_busy = is_busy.clone();
                let busy = Task::new().pin(1).call(move || async move {
                    child_is_busy.add();
                    let _ = free.recv();
                })?;
                is_busy.reaches(1).await;
                let child = Task::new().pin(1).call(move || async move {
                    log.push("began");
                    drop(guard);
                })?;
                let cancel = child.cancel();
                held.send(())?;
                assert_eq!(cancel.await, None);
                busy.await?;
            } else {
                let child = spawn(async move {
                    log.push("began");
                    drop(guard);
                });
                assert_eq!(child.cancel().await, None);
            }
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["dropped"]);
    }
}

#[test]
fn a_body_is_dropped_on_the_thread_that_polled_it() {
    /// Notes on which threads it was polled and dropped.
    struct Threads(Arc<Mutex<Vec<ThreadId>>>);
    impl Threads {
        fn note(&self) {
            self.0.lock().expect("nobody panicked").push(thread::current().id());
        }
    }
    impl Drop for Threads {
        fn drop(&mut self) {
            self.note();
        }
    }
    let result = run_on(3, || async {
        let threads = Arc::<Mutex<Vec<ThreadId>>>::default();
        let begun = Counter::new();
        let (child_threads, child_begun) = (threads.clone(), begun.clone());
        let child = call(move || async move {
            let threads = Threads(child_threads);
            threads.note();
            // `Rc` shows to the compiler that it must not move.
            let local = std::rc::Rc::new(());
            child_begun.add();
            pending::<()>().await;
            drop((local, threads));
        })?;
        begun.reaches(1).await;
        child.cancel().await;
        let threads = threads.lock().expect("nobody panicked").clone();
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[0], thread::current().id());
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_task_that_returns_in_the_poll_in_which_it_is_cancelled_has_returned() {
    // A suspension point is where cancellation takes effect, and there is none before the end.
    let result = run_on(2, || async {
        let (entered, leave) = (Counter::new(), Counter::new());
        let (child_entered, child_leave) = (entered.clone(), leave.clone());
        let child = call(move || async move {
            child_entered.add();
            while child_leave.get() == 0 {
                std::hint::spin_loop();
            }
            7
        })?;
        entered.reaches(1).await;
        let cancel = child.cancel();
        leave.add();
        assert_eq!(cancel.await, Some(7));
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}
