//! R3: a task is complete only when all its descendants are complete and its resources are
//! finalized. Its parent receives the outcome after that.
//!
//! Method: descendants and finalizers that take many ticks log their end, and the parent logs the
//! outcome when it receives it.

use std::future::pending;

use matou_runtime::{MainError, RunError, Task, TaskError, spawn, transfer, yield_now};

use crate::support::*;

/// How often a slow finalizer yields.
const STEPS: usize = 60;

/// Never returns. Once it is cancelled, its finalizer and that of its child take many ticks.
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
fn a_normal_end_waits_for_cancelled_descendants() {
    scenario(|place, log| async move {
        let (child_log, begun) = (log.clone(), Counter::new());
        let task = spawn(async move {
            let child_begun = begun.clone();
            let child = place.spawn(move || slow(child_log, child_begun));
            begun.reaches(2).await;
            // Requests the cancellation without waiting for the end.
            drop(child.cancel());
            7
        });
        let value = task.await?;
        log.push(format!("outcome {value}"));
        Ok(())
    })
    .expect(&[SLOW_END[0], SLOW_END[1], "outcome 7"]);
}

#[test]
fn a_normal_end_waits_for_the_resources() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let child = place.spawn(move || async move {
            // The drop makes it no leak; the asynchronous finalizer runs at the end of the task.
            drop(child_log.slow_resource("resource", STEPS));
            child_log.push("body");
            7
        });
        let value = child.await?;
        log.push(format!("outcome {value}"));
        Ok(())
    })
    .expect(&["body", "resource", "outcome 7"]);
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
    for how in [Abnormal::Fails, Abnormal::Panics, Abnormal::IsCancelled] {
        let outcome = match how {
            Abnormal::Fails => "failed",
            Abnormal::Panics => "panicked",
            Abnormal::IsCancelled => "None",
        };
        scenario(move |place, log| async move {
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
            let outcome = match how {
                Abnormal::IsCancelled => format!("{:?}", task.cancel().await),
                _ => match task.await {
                    Err(TaskError::Failed { .. }) => "failed".to_owned(),
                    Err(TaskError::Panicked(_)) => "panicked".to_owned(),
                    other => format!("{other:?}"),
                },
            };
            log.push(outcome);
            Ok(())
        })
        .expect(&[SLOW_END[0], SLOW_END[1], "resource of the task", outcome]);
    }
}

/// The error of the task.
#[derive(Debug)]
struct Gone;

impl From<TaskError> for Gone {
    fn from(_: TaskError) -> Gone {
        Gone
    }
}

#[test]
fn a_run_returns_after_all_descendants_of_main() {
    let runs = scenario(|place, log| async move {
        let begun = Counter::new();
        let child_begun = begun.clone();
        let _child = place.spawn(move || slow(log, child_begun));
        begun.reaches(2).await;
        Err::<(), MainError>("main fails".into())
    })
    .runs();
    for run in runs {
        assert!(matches!(run.result, Err(RunError::Failed(_))), "{:?}", run.result);
        run.log.assert_is(&SLOW_END);
    }
}

#[test]
fn a_transferred_resource_arrives_before_the_outcome() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let child = place.spawn(move || async move {
            let resource = child_log.resource("resource");
            transfer(&resource).expect("the task owns it");
            resource
        });
        let resource = child.await?;
        // Use by shared reference is allowed to the owner only.
        assert_eq!(*resource.get()?, "resource");
        log.push("used");
        drop(resource);
        Ok(())
    })
    .expect(&["used", "resource"]);
}

#[test]
fn a_group_yields_a_child_only_when_its_descendants_are_complete() {
    scenario(|_, log| async move {
        let orphans = matou_runtime::Orphans::new();
        let (child_log, begun) = (log.clone(), Counter::new());
        let task = Task::new().orphans(&orphans).spawn(async move {
            let child = spawn(slow(child_log, begun.clone()));
            begun.reaches(2).await;
            drop(child.cancel());
        });
        task?;
        orphans.next().await.expect("there is a child")?;
        log.push("child is taken");
        Ok(())
    })
    .on_one_domain()
    .expect(&[SLOW_END[0], SLOW_END[1], "child is taken"]);
}

#[test]
fn all_finalizers_end_before_the_parent_sees_a_panic_of_one_of_them() {
    scenario(|place, log| async move {
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
    })
    .expect(&["slow", "seen"]);
}
