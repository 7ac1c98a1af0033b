//! R8: finalizers may be asynchronous. They run on the owner's domain after the future is
//! dropped, cannot be cancelled, and are bounded by the grace period.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use matou_ownership::{Owned, disown};
use matou_runtime::{
    Builder, Forgotten, MainError, RunError, Task, TaskError, Violation, sleep, spawn, yield_now,
};

use crate::support::*;

const STEPS: usize = 60;

#[test]
fn they_run_after_the_future_is_dropped_on_its_own_domain() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
            let (child_log, begun) = (log.clone(), Counter::new());
            let child_begun = begun.clone();
            let home = Arc::new(Mutex::new(None));
            let child_home = home.clone();
            let child = place.spawn(move || async move {
                let log = child_log;
                let _guard = log.witness("future");
                *child_home.lock().expect("nobody panicked") = Some(thread::current().id());
                let finalizer_log = log.clone();
                lose(Owned::with_async((), move |()| async move {
                    // `Rc`: the future of a finalizer stays on one thread.
                    let local = std::rc::Rc::new(thread::current().id());
                    yield_now().await;
                    finalizer_log.push(format!("finalizer on {:?}", *local));
                }));
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            child.cancel().await;
            let home = home.lock().expect("nobody panicked").expect("it has begun");
            log.push(format!("home is {home:?}"));
            Ok(home)
        });
        let home = result.expect("no rule is broken");
        log.assert_is(&["future", &format!("finalizer on {home:?}"), &format!("home is {home:?}")]);
    }
}

#[test]
fn they_are_not_cancelled_with_their_owner_nor_by_a_violation_elsewhere() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (begun, finalizing) = (Counter::new(), Counter::new());
            let (child_log, child_begun) = (main_log.clone(), begun.clone());
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
            // Once in the name of its parent, and given up; then by the end of the parent, which
            // comes from a violation.
            let cancel = child.cancel();
            finalizing.reaches(1).await;
            drop(cancel);
            let culprit = spawn(async { drop(spawn(pending::<()>())) });
            culprit.await?;
            Ok(())
        });
        assert_eq!(violation(result).name(), "StillHasChildren");
        log.assert_is(&["finalized"]);
    }
}

#[test]
fn a_release_that_is_cancelled_half_way_is_finished_by_the_settlement() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let log = main_log;
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
            log.push("gone");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["first half", "second half", "gone"]);
    }
}

#[test]
fn a_moved_resource_that_is_half_released_is_finished_by_the_task_that_released_it() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, half) = (main_log, Counter::new());
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
            log.push("gone");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["first half", "second half", "gone"]);
    }
}

/// How the owner of an endless finalizer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    Cancelled,
}

#[test]
fn the_grace_period_bounds_them_and_the_report_names_what_is_unfinished() {
    for place in Place::BOTH {
        for end in [End::Normal, End::Failed, End::Cancelled] {
            let log = Log::new();
            let main_log = log.clone();
            let builder = Builder::new().domains(place.domains()).grace(Duration::from_millis(20));
            let line = line!() + 9;
            let result = run_with(builder, move || async move {
                let begun = Counter::new();
                let child_begun = begun.clone();
                let make = move || async move {
                    drop(main_log.resource("dropped"));
                    let guard = main_log.witness("the endless finalizer");
                    // Dropped rather than forgotten: the owner waits, and it is no leak.
                    let older = main_log.slow_resource("older", 0);
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
            });
            match violation(result) {
                Violation::FinalizerUnfinished { resources, .. } => {
                    let lines: Vec<u32> = resources.iter().map(|r| r.made_at.line()).collect();
                    assert_eq!(lines[0], line, "{end:?}");
                }
                other => panic!("{other}"),
            }
            // It was dropped, and what it kept waiting was finalized after all.
            log.assert_is(&["dropped", "the endless finalizer", "older"]);
        }
    }
}

#[test]
fn a_finalizer_within_the_grace_period_is_not_reported() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let builder = Builder::new().domains(place.domains()).grace(DEADLINE);
        let result = run_with(builder, move || async move {
            let child = place.spawn(move || async move {
                drop(Owned::with_async((), move |()| async move {
                    sleep(Duration::from_millis(10)).await;
                    main_log.push("finalized");
                }));
            });
            child.await?;
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["finalized"]);
    }
}

#[test]
fn a_finalizer_that_panics_stops_no_other_and_is_the_outcome() {
    for place in Place::BOTH {
        for is_async in [false, true] {
            let log = Log::new();
            let main_log = log.clone();
            let result = run_on(place.domains(), move || async move {
                let child = place.try_spawn(move || async move {
                    lose(main_log.resource("older"));
                    lose(if is_async {
                        Owned::with_async((), |()| async {
                            yield_now().await;
                            panic!("on purpose");
                        })
                    } else {
                        Owned::new((), |()| panic!("on purpose"))
                    });
                    lose(main_log.resource("newer"));
                    Err::<(), _>("an abnormal end")
                });
                match child.await {
                    Err(TaskError::Panicked(panic)) => Ok(panic.message().to_owned()),
                    other => Err(format!("{other:?}").into()),
                }
            });
            let message = result.expect("no rule is broken");
            assert!(message.starts_with("the finalizer of () #"), "{message}");
            assert!(message.ends_with("panicked: on purpose"), "{message}");
            log.assert_is(&["newer", "older"]);
        }
    }
}

#[test]
fn a_finalizer_cannot_have_children() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let child = place.spawn(|| async {
                drop(Owned::with_async((), |()| async {
                    spawn(async {}).await.expect("not reached");
                }));
            });
            let outcome: Result<(), TaskError> = child.await;
            match outcome {
                Err(TaskError::Panicked(panic)) => Ok(panic.message().to_owned()),
                other => Err(format!("{other:?}").into()),
            }
        });
        let message = result.expect("no rule is broken");
        assert!(message.contains("a task that is ending cannot spawn"), "{message}");
    }
}

#[test]
fn the_finalizers_of_main_end_before_the_run_does() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result: Result<(), RunError> = run_on(place.domains(), move || async move {
            lose(main_log.slow_resource("main's", STEPS));
            Err::<(), MainError>("main fails".into())
        });
        log.push("over");
        assert!(matches!(result, Err(RunError::Failed(_))), "{result:?}");
        log.assert_is(&["main's", "over"]);
    }
}

#[test]
fn finalizers_of_many_tasks_wait_side_by_side() {
    // If one settlement kept its domain busy, the others would not be reached before its end.
    let result = run_on(1, || async {
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
    });
    assert!(result.is_ok(), "{result:?}");
}

/// What a child returns although its promise is gone is dropped when the child's own resources are
/// settled. The child is not over before the finalizers in there are.
#[test]
fn they_run_for_what_lies_in_an_outcome_that_nobody_takes() {
    for step in 0..20 {
        for place in Place::BOTH {
            let log = Log::new();
            let main_log = log.clone();
            let builder = Builder::new().domains(place.domains()).forgotten(Forgotten::Cancel);
            let result = run_with(builder, move || async move {
                let log = main_log;
                let owned = log.slow_resource("finalizer", STEPS);
                disown(&owned)?;
                let child_log = log.clone();
                let child = place.spawn(move || async move {
                    let _witness = child_log.witness("body");
                    owned
                });
                // Before it begins, while it returns, or afterwards.
                for _ in 0..step {
                    yield_now().await;
                }
                drop(child);
                Ok(())
            });
            result.expect("no rule is broken");
            assert!(log.at("finalizer") < log.entries().len());
        }
    }
}

/// As above, where the promise is certain to go in the very poll that returns the outcome.
#[test]
fn they_run_for_the_outcome_of_a_task_that_drops_its_own_promise() {
    let log = Log::new();
    let main_log = log.clone();
    let builder = Builder::new().domains(1).forgotten(Forgotten::Cancel);
    let result = run_with(builder, move || async move {
        let log = main_log;
        let owned = log.slow_resource("finalizer", STEPS);
        disown(&owned)?;
        let own = Rc::new(Cell::new(None));
        let own_promise = Rc::clone(&own);
        own.set(Some(spawn(async move {
            yield_now().await;
            drop(own_promise.take());
            owned
        })));
        sleep(Duration::from_millis(1)).await;
        log.push("main");
        Ok(())
    });
    result.expect("no rule is broken");
    log.assert_is(&["finalizer", "main"]);
}
