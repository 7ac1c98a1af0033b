//! R1: a task that returns normally has awaited or cancelled all its children.
//!
//! Method: a task leaves a child behind in each possible way, on its own domain and on another
//! one. The report must name the line that spawned the child, and the child must be dropped before
//! the run returns.

use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use matou_runtime::{
    ChildState, Forgotten, MainError, Orphans, Promise, RunError, Task, TryNext, Violation, race,
    spawn, timeout, try_spawn, yield_now,
};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(2);

/// Where the children in the only violation of a run were spawned, and their states.
#[track_caller]
fn reported<T: std::fmt::Debug>(result: Result<T, RunError>) -> Vec<(u32, ChildState)> {
    match violation(result) {
        Violation::StillHasChildren { children, .. } => {
            let facts = children.iter().map(|child| {
                assert_eq!(child.spawned_at.file(), file!());
                (child.spawned_at.line(), child.state)
            });
            facts.collect()
        }
        other => panic!("another rule was violated:\n{other}"),
    }
}

#[track_caller]
fn lines<T: std::fmt::Debug>(result: Result<T, RunError>) -> Vec<u32> {
    reported(result).into_iter().map(|(line, _)| line).collect()
}

/// Never returns, and logs its drop.
async fn endless(log: Log) {
    let _guard = log.on_drop("child is dropped");
    pending::<()>().await;
}

/// Never returns, and owns a resource whose finalizer takes many ticks.
async fn slow_to_end(log: Log, begun: Counter) {
    let _resource = log.slow_resource("child is finalized", 50);
    begun.add();
    pending::<()>().await;
}

/// A child that has begun, and is slow to end.
async fn begun_child(place: Place, log: Log) -> Promise<()> {
    let begun = Counter::new();
    let child_begun = begun.clone();
    let child = place.spawn(move || slow_to_end(log, child_begun));
    begun.reaches(1).await;
    child
}

#[test]
fn awaited_and_cancelled_children_violate_no_rule() {
    scenario(|place, _| async move {
        let awaited = place.spawn(|| async { 7 });
        let cancelled = place.spawn(pending::<()>);
        assert_eq!(awaited.await?, 7);
        assert!(cancelled.cancel().await.is_none());
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_child_whose_promise_is_leaked_is_reported() {
    let line = line!() + 2;
    let runs = scenario(|place, log| async move {
        let promise = place.spawn(|| endless(log));
        leak(promise);
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(lines(run.result), [line]);
        assert!(run.log.entries().len() <= 1, "dropped at most once: it may not have begun");
    }
}

#[test]
fn a_dropped_promise_is_reported_with_the_line_that_spawned_the_child() {
    let line = line!() + 4;
    let runs = scenario(|place, log| async move {
        let begun = Counter::new();
        let child_begun = begun.clone();
        let promise = place.spawn(|| slow_to_end(log, child_begun));
        begun.reaches(1).await;
        drop(promise);
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(lines(run.result), [line]);
        run.log.assert_is(&["child is finalized"]);
    }
}

#[test]
fn the_task_and_all_its_forgotten_children_are_in_one_report() {
    let result = run_on(3, || async {
        let parent = Task::new().name("parent").call(|| async {
            let kept: Vec<Promise<()>> = (0..5).map(|_| spawn(pending())).collect();
            for (index, promise) in kept.into_iter().enumerate() {
                match index % 2 {
                    0 => drop(promise),
                    _ => drop(promise.cancel().await),
                }
            }
        });
        parent?.await?;
        Ok(())
    });
    match violation(result) {
        Violation::StillHasChildren { task, children, .. } => {
            assert_eq!(task.name.as_deref(), Some("parent"));
            assert_ne!(task.domain, 0);
            assert_eq!(children.len(), 3);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_promise_dropped_by_a_timeout_is_not_reported_and_its_child_is_waited_for() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let task = spawn(async move {
            let child = begun_child(place, child_log).await;
            timeout(SHORT, async move { child.await.is_ok() }).await
        });
        assert!(task.await?.is_err());
        log.push("task is complete");
        Ok(())
    })
    .expect(&["child is finalized", "task is complete"]);
}

#[test]
fn a_promise_dropped_by_a_race_is_not_reported_and_its_child_is_waited_for() {
    scenario(|place, log| async move {
        let begun = Counter::new();
        let (child_log, child_begun) = (log.clone(), begun.clone());
        let task = spawn(async move {
            let loser = async move {
                let child = place.spawn(move || slow_to_end(child_log, child_begun));
                child.await.is_ok()
            };
            let winner = async {
                begun.reaches(1).await;
                true
            };
            race(loser, winner).await
        });
        assert!(task.await?);
        log.push("task is complete");
        Ok(())
    })
    .expect(&["child is finalized", "task is complete"]);
}

#[test]
fn a_promise_dropped_after_a_timeout_is_reported() {
    let line = line!() + 3;
    let result = run_on(1, move || async move {
        assert!(timeout(SHORT, pending::<()>()).await.is_err());
        drop(spawn(pending::<()>()));
        Ok(())
    });
    assert_eq!(lines(result), [line]);
}

#[test]
fn a_promise_dropped_inside_a_branch_that_wins_is_reported() {
    let line = line!() + 3;
    let result = run_on(1, move || async move {
        let won = timeout(DEADLINE, async {
            drop(spawn(pending::<()>()));
        });
        assert!(won.await.is_ok());
        Ok(())
    });
    assert_eq!(lines(result), [line]);
}

#[test]
fn a_promise_dropped_by_a_panic_is_not_reported_even_if_the_panic_is_caught() {
    scenario(|place, _| async move {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _promise = place.spawn(pending::<()>);
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_task_that_panics_may_drop_and_leak_its_promises() {
    scenario(|place, _| async move {
        let task = spawn(async move {
            let _promise = place.spawn(pending::<()>);
            leak(place.spawn(pending::<()>));
            yield_now().await;
            panic!("on purpose");
        });
        assert!(task.await.is_err_and(|error: matou_runtime::TaskError| error.is_panicked()));
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_task_that_fails_may_drop_and_leak_its_promises() {
    scenario(|place, _| async move {
        let task = try_spawn(async move {
            let _promise = place.spawn(pending::<()>);
            drop(place.spawn(pending::<()>));
            leak(place.spawn(pending::<()>));
            yield_now().await;
            Err::<(), _>("on purpose")
        });
        let failure = task.await.expect_err("it fails").into_failure();
        assert_eq!(failure, Some("on purpose"));
        Ok(())
    })
    .succeeds();
}

#[test]
fn a_task_that_is_cancelled_may_drop_its_promises() {
    scenario(|place, _| async move {
        let begun = Counter::new();
        let child_begun = begun.clone();
        let task = place.spawn(move || async move {
            let _promise = spawn(pending::<()>());
            drop(spawn(pending::<()>()));
            child_begun.add();
            pending::<()>().await;
        });
        begun.reaches(1).await;
        assert!(task.cancel().await.is_none());
        Ok(())
    })
    .succeeds();
}

#[test]
fn forgotten_cancel_treats_a_dropped_promise_as_cancelled() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let task = spawn(async move {
            let child = begun_child(place, child_log).await;
            drop(child);
            let ended = spawn(ready(1));
            yield_now().await;
            drop(ended);
        });
        task.await?;
        log.push("task is complete");
        Ok(())
    })
    .settings(|builder| builder.forgotten(Forgotten::Cancel))
    .expect(&["child is finalized", "task is complete"]);
}

#[test]
fn forgotten_cancel_does_not_excuse_a_leaked_promise() {
    let line = line!() + 3;
    let builder = strict().domains(1).forgotten(Forgotten::Cancel);
    let result = run_with(builder, || async {
        leak(spawn(pending::<()>()));
        Ok(())
    });
    assert_eq!(lines(result), [line]);
}

#[test]
fn a_completed_child_that_was_never_joined_is_reported() {
    let line = line!() + 4;
    let runs = scenario(|place, _| async move {
        let done = Counter::new();
        let child_done = done.clone();
        let child = place.spawn(move || async move { child_done.add() });
        done.reaches(1).await;
        // A round trip to each other domain: the completion of the first child arrives before the
        // answers.
        if place == Place::Remote {
            Task::new().pin(1).call(|| async {})?.await?;
            Task::new().pin(2).call(|| async {})?.await?;
        }
        drop(child);
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(reported(run.result), [(line, ChildState::Complete)]);
    }
}

#[test]
fn children_in_a_group_must_be_taken_out_of_it() {
    run_on(1, || async {
        let orphans = Orphans::new();
        for n in 0..4 {
            Task::new().orphans(&orphans).spawn(async move { n })?;
        }
        yield_now().await;
        assert!(matches!(orphans.care(), TryNext::Completed(Ok(0))));
        assert!(matches!(orphans.next().await, Some(Ok(1))));
        let taken = orphans.take().expect("two children remain");
        assert_eq!(taken.await?, 2);
        assert_eq!(orphans.len(), 1);
        assert!(matches!(orphans.next().await, Some(Ok(3))));
        assert!(orphans.next().await.is_none());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_completed_child_in_a_leaked_group_is_reported() {
    let line = line!() + 5;
    let result = run_on(1, || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(ready(()))?;
        orphans.next().await.expect("a child")?;
        Task::new().orphans(&orphans).spawn(ready(()))?;
        yield_now().await;
        leak(orphans);
        Ok(())
    });
    assert_eq!(reported(result), [(line, ChildState::Complete)]);
}

#[test]
fn a_child_taken_out_of_a_group_is_reported_if_its_promise_is_dropped() {
    let line = line!() + 3;
    let result = run_on(1, || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(pending::<()>())?;
        let taken = orphans.take().expect("a child");
        drop(orphans);
        drop(taken);
        Ok(())
    });
    assert_eq!(lines(result), [line]);
}

#[test]
fn the_children_of_a_dropped_group_are_cancelled_and_reported() {
    let log = Log::new();
    let (child_log, line) = (log.clone(), line!() + 4);
    let result = run_on(1, move || async move {
        let orphans = Orphans::new();
        for _ in 0..3 {
            Task::new().orphans(&orphans).spawn(endless(child_log.clone()))?;
        }
        yield_now().await;
        drop(orphans);
        Ok(())
    });
    assert_eq!(lines(result), [line; 3]);
    log.assert_is(&["child is dropped"; 3]);
}

#[test]
fn a_group_dropped_by_a_timeout_is_not_reported_and_its_children_are_waited_for() {
    scenario(|_, log| async move {
        let child_log = log.clone();
        let task = spawn(async move {
            let serve = async move {
                let orphans: Orphans<()> = Orphans::new();
                let _ = Task::new().orphans(&orphans).spawn(async move {
                    let _resource = child_log.slow_resource("child is finalized", 20);
                    pending::<()>().await;
                });
                orphans.next().await;
            };
            timeout(SHORT, serve).await
        });
        assert!(task.await?.is_err());
        log.push("task is complete");
        Ok(())
    })
    .on_one_domain()
    .expect(&["child is finalized", "task is complete"]);
}

#[test]
fn a_promise_dropped_on_another_thread_cancels_and_is_reported() {
    let line = line!() + 4;
    let runs = scenario(|place, _| async move {
        let (begun, gone) = (Counter::new(), Log::new());
        let (child_begun, child_gone) = (begun.clone(), gone.clone());
        let child = place.spawn(move || {
            child_begun.add();
            endless(child_gone)
        });
        begun.reaches(1).await;
        std::thread::spawn(move || drop(child)).join().expect("no panic");
        gone.is_written().await;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(lines(run.result), [line]);
    }
}

#[test]
fn a_promise_dropped_on_another_domain_cancels_and_is_reported() {
    let line = line!() + 4;
    let runs = scenario(|place, _| async move {
        let (begun, gone) = (Counter::new(), Log::new());
        let (child_begun, child_gone) = (begun.clone(), gone.clone());
        let child = place.spawn(move || {
            child_begun.add();
            endless(child_gone)
        });
        begun.reaches(1).await;
        Task::new().call(move || async move { drop(child) })?.await?;
        gone.is_written().await;
        Ok(())
    })
    .settings(|builder| builder.domains(3))
    .runs();
    for run in runs {
        assert_eq!(lines(run.result), [line]);
    }
}

#[test]
fn a_promise_abandoned_on_another_thread_or_domain_is_not_reported() {
    run_on(3, || async {
        for by_panic in [true, false] {
            let gone = Log::new();
            let child = spawn(endless(gone.clone()));
            yield_now().await;
            if by_panic {
                let thread = std::thread::spawn(move || {
                    let _child = child;
                    panic!("on purpose");
                });
                assert!(thread.join().is_err());
            } else {
                let keep = async move {
                    let _child = child;
                    pending::<()>().await;
                };
                let elapsed = Task::new().call(move || timeout(SHORT, keep))?.await?;
                assert!(elapsed.is_err());
            }
            gone.is_written().await;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn dropping_a_cancel_future_neither_detaches_nor_reports_the_child() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let task = spawn(async move {
            let child = begun_child(place, child_log).await;
            drop(child.cancel());
        });
        task.await?;
        log.push("task is complete");
        Ok::<_, MainError>(())
    })
    .expect(&["child is finalized", "task is complete"]);
}
