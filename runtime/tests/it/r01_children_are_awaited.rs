//! R1: a task that ends normally has awaited or cancelled all its children.
//!
//! Method: a task leaves a child behind in each way there is, on its own domain and on another
//! one; the report has to name the line that made the child, and the child has to be gone when
//! the run returns.

use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use matou_runtime::{
    Builder, ChildState, Forgotten, MainError, Orphans, Promise, RunError, Task, TryNext,
    Violation, race, spawn, timeout, try_spawn, yield_now,
};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(2);

/// The lines and states of the children in the only violation of a run.
#[track_caller]
fn left<T: std::fmt::Debug>(result: Result<T, RunError>) -> Vec<(u32, ChildState)> {
    match violation(result) {
        Violation::StillHasChildren { children, .. } => {
            let facts = children.iter().map(|child| {
                assert_eq!(child.spawned_at.file(), file!());
                (child.spawned_at.line(), child.state)
            });
            facts.collect()
        }
        other => panic!("another rule was broken:\n{other}"),
    }
}

#[track_caller]
fn lines<T: std::fmt::Debug>(result: Result<T, RunError>) -> Vec<u32> {
    left(result).into_iter().map(|(line, _)| line).collect()
}

/// An endless child that leaves a trace when it is gone.
async fn endless(log: Log) {
    let _gone = log.witness("gone");
    pending::<()>().await;
}

/// Lets the child begin, so that its witness exists.
async fn begin() {
    for _ in 0..3 {
        yield_now().await;
    }
}

#[test]
fn awaited_and_cancelled_children_break_no_rule() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let awaited = place.spawn(|| async { 7 });
            let cancelled = place.spawn(pending::<()>);
            assert_eq!(awaited.await?, 7);
            assert_eq!(cancelled.cancel().await, None);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_promise_that_is_leaked_is_still_found() {
    for place in Place::BOTH {
        let log = Log::new();
        let (child_log, line) = (log.clone(), line!() + 2);
        let result = run_on(place.domains(), move || async move {
            let promise = place.spawn(|| endless(child_log));
            lose(promise);
            Ok(())
        });
        assert_eq!(lines(result), [line]);
        assert!(log.entries().len() <= 1, "dropped once, if it had begun");
    }
}

#[test]
fn a_dropped_promise_is_reported_with_the_line_that_made_the_child() {
    for place in Place::BOTH {
        let log = Log::new();
        let (child_log, line) = (log.clone(), line!() + 2);
        let result = run_on(place.domains(), move || async move {
            let promise = place.spawn(|| endless(child_log));
            begin().await;
            drop(promise);
            Ok(())
        });
        assert_eq!(lines(result), [line]);
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
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (main_log, Counter::new());
            let (child_log, child_begun) = (log.clone(), begun.clone());
            let task = spawn(async move {
                let child = place.spawn(move || async move {
                    let _resource = child_log.slow_resource("child is gone", 50);
                    child_begun.add();
                    pending::<()>().await;
                });
                begun.reaches(1).await;
                timeout(SHORT, async move { child.await.is_ok() }).await
            });
            assert!(task.await?.is_err());
            log.push("task is over");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["child is gone", "task is over"]);
    }
}

#[test]
fn a_promise_dropped_by_a_race_is_not_reported_and_its_child_is_waited_for() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (main_log, Counter::new());
            let (child_log, child_begun) = (log.clone(), begun.clone());
            let task = spawn(async move {
                let loser = async move {
                    let child = place.spawn(move || async move {
                        let _resource = child_log.slow_resource("child is gone", 50);
                        child_begun.add();
                        pending::<()>().await;
                    });
                    child.await.is_ok()
                };
                let winner = async {
                    begun.reaches(1).await;
                    true
                };
                race(loser, winner).await
            });
            assert!(task.await?);
            log.push("task is over");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["child is gone", "task is over"]);
    }
}

#[test]
fn a_promise_dropped_beside_a_timeout_is_reported_all_the_same() {
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
fn a_promise_dropped_by_a_panic_is_no_violation_even_if_the_panic_is_caught() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _promise = place.spawn(pending::<()>);
                panic!("on purpose");
            }));
            assert!(caught.is_err());
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_task_that_panics_forgets_nothing() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let task = spawn(async move {
                let _promise = place.spawn(pending::<()>);
                lose(place.spawn(pending::<()>));
                yield_now().await;
                panic!("on purpose");
            });
            assert!(task.await.is_err_and(|error: matou_runtime::TaskError| error.is_panicked()));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_task_that_fails_forgets_nothing() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let task = try_spawn(async move {
                let _promise = place.spawn(pending::<()>);
                drop(place.spawn(pending::<()>));
                lose(place.spawn(pending::<()>));
                yield_now().await;
                Err::<(), _>("on purpose")
            });
            let failure = task.await.expect_err("it fails").into_failure();
            assert_eq!(failure, Some("on purpose"));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_task_that_is_cancelled_forgets_nothing() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let begun = Counter::new();
            let child_begun = begun.clone();
            let task = place.spawn(move || async move {
                let _promise = spawn(pending::<()>());
                drop(spawn(pending::<()>()));
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            assert_eq!(task.cancel().await, None);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn forgotten_cancel_takes_every_drop_for_a_cancellation() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let builder = Builder::new().domains(place.domains()).forgotten(Forgotten::Cancel);
        let result = run_with(builder, move || async move {
            let log = main_log;
            let child_log = log.clone();
            let begun = Counter::new();
            let child_begun = begun.clone();
            let task = spawn(async move {
                let child = place.spawn(move || async move {
                    let _resource = child_log.slow_resource("child is gone", 50);
                    child_begun.add();
                    pending::<()>().await;
                });
                begun.reaches(1).await;
                drop(child);
                let ended = spawn(ready(1));
                yield_now().await;
                drop(ended);
            });
            task.await?;
            log.push("task is over");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["child is gone", "task is over"]);
    }
}

#[test]
fn forgotten_cancel_does_not_excuse_a_leaked_promise() {
    let line = line!() + 3;
    let builder = Builder::new().domains(1).forgotten(Forgotten::Cancel);
    let result = run_with(builder, || async {
        lose(spawn(pending::<()>()));
        Ok(())
    });
    assert_eq!(lines(result), [line]);
}

#[test]
fn a_child_that_has_ended_but_was_never_awaited_is_left() {
    for place in Place::BOTH {
        let line = line!() + 3;
        let result = run_on(place.domains(), move || async move {
            let (done, child_done) = (Counter::new(), Counter::new());
            let child = place.spawn({
                let c = child_done.clone();
                move || async move { c.add() }
            });
            child_done.reaches(1).await;
            // Another round trip to the same place: the end of the first child was told before.
            if place == Place::Away {
                Task::new().pin(1).call(|| async {})?.await?;
                Task::new().pin(2).call(|| async {})?.await?;
            }
            done.add();
            drop(child);
            Ok(())
        });
        assert_eq!(left(result), [(line, ChildState::Complete)]);
    }
}

#[test]
fn children_in_a_collector_count_until_they_are_handed_out() {
    let result = run_on(1, || async {
        let orphans = Orphans::new();
        for n in 0..4 {
            Task::new().orphans(&orphans).spawn(async move { n })?;
        }
        yield_now().await;
        assert!(matches!(orphans.care(), TryNext::Completed(Ok(0))));
        assert!(matches!(orphans.next().await, Some(Ok(1))));
        let taken = orphans.take().expect("two are left");
        assert_eq!(taken.await?, 2);
        assert_eq!(orphans.len(), 1);
        assert!(matches!(orphans.next().await, Some(Ok(3))));
        assert!(orphans.next().await.is_none());
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_finished_child_that_a_leaked_collector_never_handed_out_is_left() {
    let line = line!() + 5;
    let result = run_on(1, || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(ready(()))?;
        orphans.next().await.expect("a child")?;
        Task::new().orphans(&orphans).spawn(ready(()))?;
        yield_now().await;
        lose(orphans);
        Ok(())
    });
    assert_eq!(left(result), [(line, ChildState::Complete)]);
}

#[test]
fn a_child_taken_out_of_a_collector_is_a_promise_again() {
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
fn a_dropped_collector_forgets_the_children_that_it_holds() {
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
    log.assert_is(&["gone"; 3]);
}

#[test]
fn a_collector_dropped_by_a_timeout_is_not_reported_and_its_children_are_waited_for() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(1, move || async move {
        let log = main_log;
        let child_log = log.clone();
        let task = spawn(async move {
            let serve = async move {
                let orphans: Orphans<()> = Orphans::new();
                let _ = Task::new().orphans(&orphans).spawn(async move {
                    let _resource = child_log.slow_resource("child is gone", 20);
                    pending::<()>().await;
                });
                orphans.next().await;
            };
            timeout(SHORT, serve).await
        });
        assert!(task.await?.is_err());
        log.push("task is over");
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    log.assert_is(&["child is gone", "task is over"]);
}

#[test]
fn a_promise_dropped_on_another_thread_cancels_and_is_reported() {
    for place in Place::BOTH {
        let line = line!() + 4;
        let result = run_on(place.domains(), move || async move {
            let (begun, gone) = (Counter::new(), Log::new());
            let (child_begun, child_gone) = (begun.clone(), gone.clone());
            let child = place.spawn(move || async move {
                let _gone = child_gone.witness("gone");
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            std::thread::spawn(move || drop(child)).join().expect("no panic");
            while gone.entries().is_empty() {
                yield_now().await;
            }
            Ok(())
        });
        assert_eq!(lines(result), [line]);
    }
}

#[test]
fn a_promise_dropped_on_another_domain_cancels_and_is_reported() {
    for place in Place::BOTH {
        let line = line!() + 4;
        let result = run_on(3, move || async move {
            let (begun, gone) = (Counter::new(), Log::new());
            let (child_begun, child_gone) = (begun.clone(), gone.clone());
            let child = place.spawn(move || async move {
                let _gone = child_gone.witness("gone");
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            Task::new().call(move || async move { drop(child) })?.await?;
            while gone.entries().is_empty() {
                yield_now().await;
            }
            Ok(())
        });
        assert_eq!(lines(result), [line]);
    }
}

#[test]
fn a_promise_abandoned_on_another_thread_or_domain_is_not_reported() {
    let result = run_on(3, || async {
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
            while gone.entries().is_empty() {
                yield_now().await;
            }
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn dropping_the_wait_for_a_cancelled_child_neither_detaches_nor_reports_it() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let child_log = log.clone();
            let begun = Counter::new();
            let child_begun = begun.clone();
            let task = spawn(async move {
                let child = place.spawn(move || async move {
                    let _resource = child_log.slow_resource("child is gone", 50);
                    child_begun.add();
                    pending::<()>().await;
                });
                begun.reaches(1).await;
                drop(child.cancel());
            });
            task.await?;
            log.push("task is over");
            Ok::<_, MainError>(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["child is gone", "task is over"]);
    }
}
