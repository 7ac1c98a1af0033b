//! R5: cancellation takes effect at a suspension point, children first.
//!
//! A cancelled task is not polled again. First its children end, then its future is dropped on its
//! own domain, then its resources are finalized, then its parent is woken. Method: each step is
//! logged, and the finalizers of the children take many ticks.

use std::future::{Future, pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};

use matou_runtime::{Promise, Task, call, spawn, yield_now};

use crate::support::*;

const STEPS: usize = 60;

#[test]
fn children_end_before_the_future_before_the_resources_before_the_parent() {
    scenario(|place, log| async move {
        let (task_log, begun) = (log.clone(), Counter::new());
        let task_begun = begun.clone();
        let task = spawn(async move {
            let log = task_log;
            leak(log.resource("older resource"));
            leak(log.slow_resource("newer resource", STEPS));
            let _guard = log.on_drop("guard of the parent");
            let (child_log, child_begun) = (log.clone(), task_begun.clone());
            let _child = place.spawn(move || async move {
                let _guard = child_log.on_drop("guard of the child");
                let _resource = child_log.slow_resource("resource of the child", STEPS);
                child_begun.add();
                pending::<()>().await;
            });
            pending::<()>().await;
        });
        begun.reaches(1).await;
        assert!(task.cancel().await.is_none());
        log.push("parent receives the outcome");
        Ok(())
    })
    .expect(&[
        "guard of the child",
        "resource of the child",
        "guard of the parent",
        "newer resource",
        "older resource",
        "parent receives the outcome",
    ]);
}

#[test]
fn guards_are_dropped_after_all_descendants_on_several_domains() {
    scenario(|_, log| async move {
        let begun = Counter::new();
        let (task_log, task_begun) = (log.clone(), begun.clone());
        let task = call(move || async move {
            let _guard = task_log.on_drop("first level");
            let (log, begun) = (task_log.clone(), task_begun);
            let _second = call(move || async move {
                let _guard = log.on_drop("second level");
                let (third_log, begun) = (log.clone(), begun);
                let _third = call(move || async move {
                    let _guard = third_log.on_drop("third level");
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
    })
    .on_one_domain()
    .settings(|builder| builder.domains(3))
    .expect(&["third level", "third level's resource", "second level", "first level"]);
}

#[test]
fn a_cancelled_task_is_not_polled_again_however_often_it_is_woken() {
    scenario(|place, log| async move {
        let polls = Counter::new();
        let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (task_slot, task_polls, task_log) = (slot.clone(), polls.clone(), log.clone());
        let task = place.spawn(move || {
            // The end of this child takes many ticks, during which the task is woken.
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
                *task_slot.lock().expect("not poisoned") = Some(cx.waker().clone());
                Poll::<()>::Pending
            })
        });
        polls.reaches(1).await;
        yield_now().await;
        let polls_before = polls.get();
        let mut cancel = std::pin::pin!(task.cancel());
        let waker = slot.lock().expect("not poisoned").clone().expect("it was polled");
        let ended = poll_fn(|cx| {
            waker.wake_by_ref();
            let ended = cancel.as_mut().poll(cx);
            cx.waker().wake_by_ref();
            ended
        });
        assert!(ended.await.is_none());
        waker.wake();
        for _ in 0..STEPS {
            yield_now().await;
        }
        assert_eq!(polls.get(), polls_before);
        Ok(())
    })
    .expect(&["child"]);
}

#[test]
fn a_ready_task_is_not_polled_after_its_cancellation() {
    let resumed = Counter::new();
    let after = resumed.clone();
    run_on(1, move || async move {
        let task = spawn(async move {
            yield_now().await;
            after.add();
        });
        yield_now().await;
        // The task is in the run queue when it is cancelled.
        task.cancel().await;
        Ok(())
    })
    .unwrap();
    assert_eq!(resumed.get(), 0);
}

#[test]
fn a_task_cancelled_before_its_first_poll_never_begins() {
    scenario(|place, log| async move {
        let (log, guard) = (log.clone(), log.on_drop("dropped"));
        if place == Place::Remote {
            // The domain is blocked until its mailbox contains the child and, behind it, the
            // cancellation.
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
            assert!(cancel.await.is_none());
            busy.await?;
        } else {
            let child = spawn(async move {
                log.push("began");
                drop(guard);
            });
            assert!(child.cancel().await.is_none());
        }
        Ok(())
    })
    .expect(&["dropped"]);
}

#[test]
fn a_body_is_dropped_on_the_thread_that_polled_it() {
    /// Records the threads that polled and dropped it.
    struct Threads(Arc<Mutex<Vec<ThreadId>>>);
    impl Threads {
        fn record(&self) {
            self.0.lock().expect("not poisoned").push(thread::current().id());
        }
    }
    impl Drop for Threads {
        fn drop(&mut self) {
            self.record();
        }
    }
    run_on(3, || async {
        let threads = Arc::<Mutex<Vec<ThreadId>>>::default();
        let begun = Counter::new();
        let (child_threads, child_begun) = (threads.clone(), begun.clone());
        let child = call(move || async move {
            let threads = Threads(child_threads);
            threads.record();
            // An `Rc` makes the future `!Send`.
            let local = std::rc::Rc::new(());
            child_begun.add();
            pending::<()>().await;
            drop((local, threads));
        })?;
        begun.reaches(1).await;
        child.cancel().await;
        let threads = threads.lock().expect("not poisoned").clone();
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[0], thread::current().id());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_task_that_returns_in_the_poll_in_which_it_is_cancelled_keeps_its_value() {
    // Cancellation takes effect at a suspension point, and there is none before the return.
    run_on(2, || async {
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
        assert!(matches!(cancel.await, Some(Ok(7))));
        Ok(())
    })
    .unwrap();
}
