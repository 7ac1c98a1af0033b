//! R8: finalizers may be asynchronous. They run on the domain of the owner after its future is
//! dropped, cannot be cancelled, and are bounded by the grace period.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use matou_ownership::{Owned, disown};
use matou_runtime::{
    Forgotten, MainError, RunError, Task, TaskError, Violation, sleep, spawn, yield_now,
};

use crate::support::*;

const STEPS: usize = 60;

#[test]
fn finalizers_run_after_the_future_is_dropped_on_its_own_domain() {
    let runs = scenario(|place, log| async move {
        let (child_log, begun) = (log.clone(), Counter::new());
        let child_begun = begun.clone();
        let home = Arc::new(Mutex::new(None));
        let child_home = home.clone();
        let child = place.spawn(move || async move {
            let log = child_log;
            let _guard = log.on_drop("future");
            *child_home.lock().expect("not poisoned") = Some(thread::current().id());
            let finalizer_log = log.clone();
            leak(Owned::with_async((), move |()| async move {
                // An `Rc`, because the future of a finalizer stays on one thread.
                let local = std::rc::Rc::new(thread::current().id());
                yield_now().await;
                finalizer_log.push(format!("finalizer on {:?}", *local));
            }));
            child_begun.add();
            pending::<()>().await;
        });
        begun.reaches(1).await;
        child.cancel().await;
        let home = home.lock().expect("not poisoned").expect("it has begun");
        log.push(format!("home is {home:?}"));
        Ok(home)
    })
    .runs();
    for run in runs {
        let (log, home) = run.value();
        log.assert_is(&["future", &format!("finalizer on {home:?}"), &format!("home is {home:?}")]);
    }
}

#[test]
fn finalizers_are_not_cancelled_with_their_owner_nor_by_a_violation() {
    let runs = scenario(|place, log| async move {
        let (begun, finalizing) = (Counter::new(), Counter::new());
        let (child_log, child_begun) = (log.clone(), begun.clone());
        let child_finalizing = finalizing.clone();
        let child = place.spawn(move || async move {
            let _resource = Owned::with_async((), move |()| async move {
                child_finalizing.add();
                sleep(Duration::from_millis(20)).await;
                for _ in 0..STEPS {
                    yield_now().await;
                }
                child_log.push("finalized");
            });
            child_begun.add();
            pending::<()>().await;
        });
        begun.reaches(1).await;
        // It is cancelled twice: by its parent, which then drops the `Cancel` future, and by the
        // end of the parent, which follows from a violation.
        let cancel = child.cancel();
        finalizing.reaches(1).await;
        drop(cancel);
        let offender = spawn(async { drop(spawn(pending::<()>())) });
        offender.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(violation(run.result).name(), "StillHasChildren");
        run.log.assert_is(&["finalized"]);
    }
}

#[test]
fn a_release_that_is_cancelled_half_way_ends_in_the_finalization_of_its_task() {
    scenario(|place, log| async move {
        let half = Counter::new();
        let (child_log, child_half) = (log.clone(), half.clone());
        let child = place.spawn(move || async move {
            let resource = Owned::with_async((), move |()| async move {
                child_log.push("first half");
                child_half.add();
                for _ in 0..STEPS {
                    yield_now().await;
                }
                child_log.push("second half");
            });
            resource.release().await;
        });
        half.reaches(1).await;
        child.cancel().await;
        log.push("cancelled");
        Ok(())
    })
    .expect(&["first half", "second half", "cancelled"]);
}

#[test]
fn a_moved_resource_whose_release_is_cancelled_is_finalized_by_the_releasing_task() {
    scenario(|place, log| async move {
        let half = Counter::new();
        let (finalizer_log, finalizer_half) = (log.clone(), half.clone());
        let resource = Owned::with_async((), move |()| async move {
            finalizer_log.push("first half");
            finalizer_half.add();
            for _ in 0..STEPS {
                yield_now().await;
            }
            finalizer_log.push("second half");
        });
        let child = place.spawn(move || async move { resource.release().await });
        half.reaches(1).await;
        child.cancel().await;
        log.push("cancelled");
        Ok(())
    })
    .expect(&["first half", "second half", "cancelled"]);
}

/// How the owner of an endless finalizer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    Cancelled,
}

#[test]
fn the_grace_period_bounds_finalizers_and_the_report_names_the_unfinished_ones() {
    for end in [End::Normal, End::Failed, End::Cancelled] {
        let line = line!() + 10;
        let runs = scenario(move |place, log| async move {
            let begun = Counter::new();
            let child_begun = begun.clone();
            let make = move || async move {
                drop(log.resource("dropped"));
                let guard = log.on_drop("the endless finalizer");
                // Dropping it is no leak; the asynchronous finalizer runs at the end of the
                // task.
                let older = log.slow_resource("older", 0);
                drop(Owned::with_async(guard, |guard| async move {
                    let _guard = guard;
                    pending::<()>().await;
                }));
                drop(older);
                child_begun.add();
                match end {
                    End::Normal => Ok(()),
                    End::Failed => Err("on purpose"),
                    End::Cancelled => pending().await,
                }
            };
            let child = place.try_spawn(make);
            begun.reaches(1).await;
            if end == End::Cancelled {
                assert!(child.cancel().await.is_none());
            } else {
                drop(child.await);
            }
            Ok(())
        })
        .settings(|builder| builder.grace(Duration::from_millis(20)))
        .runs();
        for run in runs {
            match violation(run.result) {
                Violation::FinalizerUnfinished { resources, .. } => {
                    assert_eq!(resources[0].made_at.line(), line, "{end:?}");
                }
                other => panic!("{other}"),
            }
            // The endless finalizer was dropped, and then the older resource was finalized.
            run.log.assert_is(&["dropped", "the endless finalizer", "older"]);
        }
    }
}

#[test]
fn a_finalizer_within_the_grace_period_is_not_reported() {
    scenario(|place, log| async move {
        let child = place.spawn(move || async move {
            drop(Owned::with_async((), move |()| async move {
                sleep(Duration::from_millis(10)).await;
                log.push("finalized");
            }));
        });
        child.await?;
        Ok(())
    })
    .settings(|builder| builder.grace(DEADLINE))
    .expect(&["finalized"]);
}

#[test]
fn a_finalizer_that_panics_stops_no_other_and_its_panic_is_the_outcome() {
    for is_async in [false, true] {
        let runs = scenario(move |place, log| async move {
            let child = place.try_spawn(move || async move {
                leak(log.resource("older"));
                leak(if is_async {
                    Owned::with_async((), |()| async {
                        yield_now().await;
                        panic!("on purpose");
                    })
                } else {
                    Owned::new((), |()| panic!("on purpose"))
                });
                leak(log.resource("newer"));
                Err::<(), _>("an abnormal end")
            });
            match child.await {
                Err(TaskError::Panicked(panic)) => Ok(panic.message().to_owned()),
                other => Err(format!("{other:?}").into()),
            }
        })
        .runs();
        for run in runs {
            let (log, message) = run.value();
            assert!(message.starts_with("the finalizer of () #"), "{message}");
            assert!(message.ends_with("panicked: on purpose"), "{message}");
            log.assert_is(&["newer", "older"]);
        }
    }
}

#[test]
fn a_child_of_a_finalizer_is_cancelled_before_it_starts() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let child = place.spawn(|| async {
            drop(Owned::with_async((), |()| async move {
                let child = spawn(async { panic!("its parent is ending") });
                let outcome: Result<(), TaskError> = child.await;
                assert!(outcome.is_err_and(|error| error.is_cancelled()));
                child_log.push("the finalizer goes on");
            }));
        });
        child.await?;
        Ok(())
    })
    .settings(|builder| builder.on_report(|_| ()))
    .expect(&["the finalizer goes on"]);
}

#[test]
fn the_finalizers_of_main_end_before_the_run_returns() {
    let runs = scenario(|_, log| async move {
        leak(log.slow_resource("main's", STEPS));
        Err::<(), MainError>("main fails".into())
    })
    .runs();
    for run in runs {
        assert!(matches!(run.result, Err(RunError::Failed(_))), "{:?}", run.result);
        run.log.assert_is(&["main's"]);
    }
}

#[test]
fn finalizers_of_many_tasks_run_concurrently() {
    // Each finalizer waits for all the others, so none may block the domain.
    run_on(1, || async {
        let meeting = Counter::new();
        let children: Vec<_> = (0..50)
            .map(|_| {
                let meeting = meeting.clone();
                Task::new().spawn(async move {
                    drop(Owned::with_async((), move |()| async move {
                        meeting.add();
                        meeting.reaches(50).await;
                    }));
                })
            })
            .collect();
        for child in children {
            child.await?;
        }
        Ok(())
    })
    .unwrap();
}

/// A task whose promise is gone drops its outcome after its own resources are finalized. It is
/// complete only when the resources in the outcome are finalized too.
#[test]
fn finalizers_run_for_resources_in_an_outcome_that_no_task_takes() {
    for step in 0..20 {
        let runs = scenario(move |place, log| async move {
            let owned = log.slow_resource("finalizer", STEPS);
            disown(&owned)?;
            let child_log = log.clone();
            let child = place.spawn(move || async move {
                let _witness = child_log.on_drop("body");
                owned
            });
            // Drops the promise before the child begins, while it returns, or afterwards.
            for _ in 0..step {
                yield_now().await;
            }
            drop(child);
            Ok(())
        })
        .settings(|builder| builder.forgotten(Forgotten::Cancel))
        .runs();
        for run in runs {
            run.value().0.position("finalizer");
        }
    }
}

/// As above, with a promise that is dropped in the very poll that returns the outcome.
#[test]
fn finalizers_run_for_the_outcome_of_a_task_that_drops_its_own_promise() {
    scenario(|_, log| async move {
        let owned = log.slow_resource("finalizer", STEPS);
        disown(&owned)?;
        let own = Rc::new(Cell::new(None));
        let inner = Rc::clone(&own);
        own.set(Some(spawn(async move {
            yield_now().await;
            drop(inner.take());
            owned
        })));
        // Each step of the child and of its finalizer takes one turn.
        for _ in 0..100 {
            yield_now().await;
        }
        log.push("main");
        Ok(())
    })
    .on_one_domain()
    .settings(|builder| builder.forgotten(Forgotten::Cancel))
    .expect(&["finalizer", "main"]);
}
