//! R4: an abnormal end cancels the children and waits for them; it is not a violation.
//!
//! Method: the root of a tree of tasks fails, panics or is cancelled, with endless descendants on
//! several domains. All descendants must be cancelled, none may be reported, and no other task may
//! be affected.

use std::future::pending;

use matou_runtime::{MainError, Orphans, Promise, RunError, Task, TaskError, spawn, try_spawn};

use crate::support::*;

/// Spawns descendants of the current task, two for each parent, which alternate between the
/// domains if there are several. None of them returns.
fn spawn_tree(levels: usize, place: Place, begun: Counter, log: Log) -> Vec<Promise<()>> {
    if levels == 0 {
        return Vec::new();
    }
    let child = |log: Log, begun: Counter| {
        move || async move {
            let _guard = log.on_drop("dropped");
            let children = spawn_tree(levels - 1, place, begun.clone(), log.clone());
            begun.add();
            pending::<()>().await;
            drop(children);
        }
    };
    (0..2).map(|_| place.spawn(child(log.clone(), begun.clone()))).collect()
}

const TREE_SIZE: usize = 2 + 4 + 8;

#[test]
fn a_failure_cancels_all_descendants_and_is_no_violation() {
    scenario(|place, log| async move {
        let begun = Counter::new();
        let task_log = log.clone();
        let task = try_spawn(async move {
            let _children = spawn_tree(3, place, begun.clone(), task_log);
            begun.reaches(TREE_SIZE).await;
            Err::<(), _>("on purpose")
        });
        assert_eq!(task.await.expect_err("it fails").into_failure(), Some("on purpose"));
        assert_eq!(log.entries().len(), TREE_SIZE, "all are dropped before the outcome");
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_panic_cancels_all_descendants_and_is_no_violation() {
    scenario(|place, _| async move {
        let (log, begun) = (Log::new(), Counter::new());
        let task_log = log.clone();
        let task = spawn(async move {
            let _children = spawn_tree(3, place, begun.clone(), task_log);
            begun.reaches(TREE_SIZE).await;
            panic!("on purpose");
        });
        let outcome: Result<(), TaskError> = task.await;
        match outcome {
            Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.entries().len(), TREE_SIZE);
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_cancellation_cancels_all_descendants_and_is_no_violation() {
    scenario(|place, _| async move {
        let (log, begun) = (Log::new(), Counter::new());
        let (task_log, task_begun) = (log.clone(), begun.clone());
        let task = place.spawn(move || async move {
            let _children = spawn_tree(3, place, task_begun, task_log);
            pending::<()>().await;
        });
        begun.reaches(TREE_SIZE).await;
        assert!(task.cancel().await.is_none());
        assert_eq!(log.entries().len(), TREE_SIZE);
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_failed_main_cancels_all_descendants_on_all_domains() {
    let runs = scenario(|place, log| async move {
        let begun = Counter::new();
        let _children = spawn_tree(3, place, begun.clone(), log);
        begun.reaches(TREE_SIZE).await;
        Err::<(), MainError>("main fails".into())
    })
    .runs();
    for run in runs {
        assert!(matches!(run.result, Err(RunError::Failed(_))), "{:?}", run.result);
        run.log.assert_is(&["dropped"; TREE_SIZE]);
    }
}

#[test]
fn the_siblings_of_a_failed_task_are_not_affected() {
    scenario(|place, _| async move {
        let counter = Counter::new();
        let sibling = place.spawn({
            let counter = counter.clone();
            move || async move {
                counter.reaches(1).await;
                7
            }
        });
        let failed = place.try_spawn(|| async { Err::<(), _>("on purpose") });
        let panicked = place.spawn(|| async { panic!("on purpose") });
        assert!(failed.await.is_err());
        let panicked: Result<(), TaskError> = panicked.await;
        assert!(panicked.is_err());
        counter.add();
        assert_eq!(sibling.await?, 7);
        Ok(())
    })
    .succeeds();
}

#[test]
fn the_children_of_a_group_are_cancelled_with_their_parent() {
    scenario(|_, log| async move {
        let child_log = log.clone();
        let task = try_spawn(async move {
            let orphans = Orphans::new();
            let begun = Counter::new();
            for _ in 0..3 {
                let (log, begun) = (child_log.clone(), begun.clone());
                let endless = async move {
                    let _guard = log.on_drop("dropped");
                    begun.add();
                    pending::<()>().await;
                };
                Task::new().orphans(&orphans).spawn(endless)?;
            }
            begun.reaches(3).await;
            Err::<(), MainError>("on purpose".into())
        });
        assert!(task.await.is_err());
        log.push("outcome");
        Ok(())
    })
    .on_one_domain()
    .expect(&["dropped", "dropped", "dropped", "outcome"]);
}
