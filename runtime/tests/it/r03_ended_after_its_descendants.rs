//! R3: a task has ended only when all its descendants have and its resources are settled; only
//! then does its parent see the outcome.
//!
//! Method: descendants and finalizers that take many turns enter their ends into a log; the
//! parent enters what it sees when it sees it.

use std::future::pending;

use matou_runtime::{MainError, RunError, Task, TaskError, spawn, transfer, yield_now};

use crate::support::*;

/// How many turns a slow end takes.
const STEPS: usize = 60;

/// Ends slowly once it is cancelled, through a child that does.
async fn slow(log: Log, begun: Counter) {
    let _first = log.slow_resource("resource of the child", STEPS);
    let grandchild = spawn({
        let (log, begun) = (log.clone(), begun.clone());
        async move {
            let _second = log.slow_resource("resource of the grandchild", STEPS);
            begun.add();
            pending::<()>().await;
        }
    });
    begun.add();
    drop(grandchild.await);
}

const SLOW_END: [&str; 2] = ["resource of the grandchild", "resource of the child"];

#[test]
fn a_normal_end_waits_for_the_descendants_that_are_still_ending() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let (child_log, begun) = (log.clone(), Counter::new());
            let task = spawn(async move {
                let child_begun = begun.clone();
                let child = place.spawn(move || slow(child_log, child_begun));
                begun.reaches(2).await;
                // It is asked to end, and nobody waits for that.
                drop(child.cancel());
                7
            });
            let value = task.await?;
            log.push(format!("outcome {value}"));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&[SLOW_END[0], SLOW_END[1], "outcome 7"]);
    }
}

#[test]
fn a_normal_end_waits_for_the_resources() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let child_log = log.clone();
            let child = place.spawn(move || async move {
                // Dropped in order, so that it is no leak; finalized at the task's end.
                drop(child_log.slow_resource("resource", STEPS));
                child_log.push("body");
                7
            });
            let value = child.await?;
            log.push(format!("outcome {value}"));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["body", "resource", "outcome 7"]);
    }
}

/// How a task ends abnormally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abnormal {
    Fails,
    Panics,
    IsCancelled,
}

#[test]
fn an_abnormal_end_waits_for_descendants_and_resources() {
    for place in Place::BOTH {
        for how in [Abnormal::Fails, Abnormal::Panics, Abnormal::IsCancelled] {
            let log = Log::new();
            let main_log = log.clone();
            let result = run_on(place.domains(), move || async move {
                let log = main_log;
                let (child_log, begun) = (log.clone(), Counter::new());
                let child_begun = begun.clone();
                let task = place.try_spawn(move || async move {
                    let _own = child_log.slow_resource("resource of the task", STEPS);
                    let (log, begun) = (child_log.clone(), child_begun.clone());
                    let child = spawn(slow(log, begun));
                    child_begun.reaches(2).await;
                    child_begun.add();
                    match how {
                        Abnormal::Fails => Err(Gone),
                        Abnormal::Panics => panic!("on purpose"),
                        Abnormal::IsCancelled => Ok(child.await?),
                    }
                });
                begun.reaches(3).await;
                let seen = match how {
                    Abnormal::IsCancelled => format!("{:?}", task.cancel().await),
                    _ => match task.await {
                        Err(TaskError::Failed(_)) => "failed".to_owned(),
                        Err(TaskError::Panicked(_)) => "panicked".to_owned(),
                        other => format!("{other:?}"),
                    },
                };
                log.push(seen);
                Ok(())
            });
            assert!(result.is_ok(), "{result:?}");
            let seen = match how {
                Abnormal::Fails => "failed",
                Abnormal::Panics => "panicked",
                Abnormal::IsCancelled => "None",
            };
            log.assert_is(&[SLOW_END[0], SLOW_END[1], "resource of the task", seen]);
        }
    }
}

/// The error of the task, or of its child.
#[derive(Debug)]
struct Gone;

impl From<TaskError> for Gone {
    fn from(_: TaskError) -> Gone {
        Gone
    }
}

#[test]
fn a_run_returns_after_everything_that_descends_from_main() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result: Result<(), RunError> = run_on(place.domains(), move || async move {
            let (child_log, begun) = (main_log.clone(), Counter::new());
            let child_begun = begun.clone();
            let _child = place.spawn(move || slow(child_log, child_begun));
            begun.reaches(2).await;
            Err::<(), MainError>("main fails".into())
        });
        log.push("the run is over");
        assert!(matches!(result, Err(RunError::Failed(_))), "{result:?}");
        log.assert_is(&[SLOW_END[0], SLOW_END[1], "the run is over"]);
    }
}

#[test]
fn what_a_child_transferred_has_arrived_when_its_outcome_is_seen() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let child_log = log.clone();
            let child = place.spawn(move || async move {
                let resource = child_log.resource("resource");
                transfer(&resource).expect("it is ours");
                resource
            });
            let resource = child.await?;
            // By shared reference: only its owner may.
            assert_eq!(*resource.get()?, "resource");
            log.push("used");
            drop(resource);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["used", "resource"]);
    }
}

#[test]
fn a_collector_hands_out_a_child_only_when_its_descendants_are_gone() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(1, move || async move {
        let log = main_log;
        let orphans = matou_runtime::Orphans::new();
        let (child_log, begun) = (log.clone(), Counter::new());
        let task = Task::new().orphans(&orphans).spawn(async move {
            let child = spawn(slow(child_log, begun.clone()));
            begun.reaches(2).await;
            drop(child.cancel());
        });
        task?;
        orphans.next().await.expect("there is a child")?;
        log.push("handed out");
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    log.assert_is(&[SLOW_END[0], SLOW_END[1], "handed out"]);
}

#[test]
fn a_finalizer_ends_before_the_parent_sees_a_panic_of_another_finalizer() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let child_log = log.clone();
            let child = place.spawn(move || async move {
                let slow = child_log.slow_resource("slow", STEPS);
                let bad = matou_ownership::Owned::with_async((), |()| async {
                    panic!("on purpose");
                });
                yield_now().await;
                drop((slow, bad));
            });
            assert!(child.await.is_err_and(|error: TaskError| error.is_panicked()));
            log.push("seen");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["slow", "seen"]);
    }
}
