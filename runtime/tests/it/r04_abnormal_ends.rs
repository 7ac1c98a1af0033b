//! R4: an abnormal end cancels the children and waits for them; that is no violation.
//!
//! Method: trees of tasks whose root fails, panics or is cancelled, with endless descendants on
//! several domains; all of them have to be cancelled, none reported, and nobody else touched.

use std::future::pending;

use matou_runtime::{MainError, Orphans, Promise, RunError, Task, TaskError, spawn, try_spawn};

use crate::support::*;

/// Descendants of the current task, three levels deep, two for each parent. They alternate
/// between the domains if there are several. None of them ends by itself.
fn grow(levels: usize, place: Place, begun: Counter, log: Log) -> Vec<Promise<()>> {
    if levels == 0 {
        return Vec::new();
    }
    let child = |log: Log, begun: Counter| {
        move || async move {
            let _gone = log.witness("gone");
            let children = grow(levels - 1, place, begun.clone(), log.clone());
            begun.add();
            pending::<()>().await;
            drop(children);
        }
    };
    (0..2).map(|_| place.spawn(child(log.clone(), begun.clone()))).collect()
}

const GROWN: usize = 2 + 4 + 8;

#[test]
fn a_failure_cancels_all_descendants_and_is_no_violation() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (main_log, Counter::new());
            let task_log = log.clone();
            let task = try_spawn(async move {
                let _children = grow(3, place, begun.clone(), task_log);
                begun.reaches(GROWN).await;
                Err::<(), _>("on purpose")
            });
            assert_eq!(task.await.expect_err("it fails").into_failure(), Some("on purpose"));
            assert_eq!(log.entries().len(), GROWN, "all are gone when the outcome is seen");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_panic_cancels_all_descendants_and_is_no_violation() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (Log::new(), Counter::new());
            let task_log = log.clone();
            let task = spawn(async move {
                let _children = grow(3, place, begun.clone(), task_log);
                begun.reaches(GROWN).await;
                panic!("on purpose");
            });
            let outcome: Result<(), TaskError> = task.await;
            match outcome {
                Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
                other => panic!("{other:?}"),
            }
            assert_eq!(log.entries().len(), GROWN);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_cancellation_cancels_all_descendants_and_is_no_violation() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (Log::new(), Counter::new());
            let (task_log, task_begun) = (log.clone(), begun.clone());
            let task = place.spawn(move || async move {
                let _children = grow(3, place, task_begun, task_log);
                pending::<()>().await;
            });
            begun.reaches(GROWN).await;
            assert_eq!(task.cancel().await, None);
            assert_eq!(log.entries().len(), GROWN);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_failed_main_drains_all_domains() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result: Result<(), RunError> = run_on(place.domains(), move || async move {
            let begun = Counter::new();
            let _children = grow(3, place, begun.clone(), main_log);
            begun.reaches(GROWN).await;
            Err::<(), MainError>("main fails".into())
        });
        assert!(matches!(result, Err(RunError::Failed(_))), "{result:?}");
        assert_eq!(log.entries().len(), GROWN);
    }
}

#[test]
fn the_siblings_of_a_failed_task_go_on() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
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
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn children_in_a_collector_are_cancelled_with_their_parent() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(1, move || async move {
        let log = main_log;
        let child_log = log.clone();
        let task = try_spawn(async move {
            let orphans = Orphans::new();
            let begun = Counter::new();
            for _ in 0..3 {
                let (log, begun) = (child_log.clone(), begun.clone());
                let endless = async move {
                    let _gone = log.witness("gone");
                    begun.add();
                    pending::<()>().await;
                };
                Task::new().orphans(&orphans).spawn(endless)?;
            }
            begun.reaches(3).await;
            Err::<(), MainError>("on purpose".into())
        });
        assert!(task.await.is_err());
        log.push("seen");
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    log.assert_is(&["gone", "gone", "gone", "seen"]);
}
