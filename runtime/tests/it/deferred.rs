//! Goal: deferred futures run at the end of their task, the newest first, however it ends.
//! Method: bodies under many seeds, in virtual time, on three domains.

use std::future::pending;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::test::{Check, check};
use matou_runtime::{MainError, RunError, call, defer, sleep, spawn, yield_now};

use crate::support::{Log, Place, fewer};

const SEEDS: std::ops::Range<u64> = 0..fewer(60);
const SECOND: Duration = Duration::from_secs(1);

/// How a task with deferred futures ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    Panicked,
    Cancelled,
    Violated,
}

#[test]
fn deferred_futures_run_newest_first_however_the_task_ends() {
    for end in [End::Normal, End::Failed, End::Panicked, End::Cancelled, End::Violated] {
        for (seed, place) in (0..30).flat_map(|seed| Place::BOTH.map(|place| (seed, place))) {
            let log = Log::new();
            let inner = log.clone();
            let trial = Check::simulated().trial(seed, async move {
                let make = move || async move {
                    let _guard = inner.on_drop("guard");
                    let (first, last, between) = (inner.clone(), inner.clone(), inner.clone());
                    defer(async move {
                        sleep(SECOND).await;
                        first.push("first");
                    });
                    drop(Owned::with_async(between, |between| async move {
                        yield_now().await;
                        between.push("between");
                    }));
                    defer(async move {
                        yield_now().await;
                        last.push("last");
                    });
                    match end {
                        End::Normal => Ok(()),
                        End::Failed => Err("failed".to_owned()),
                        End::Panicked => panic!("on purpose"),
                        End::Cancelled => pending().await,
                        End::Violated => {
                            drop(spawn(pending::<()>()));
                            Ok(())
                        }
                    }
                };
                let child = place.try_spawn(make);
                sleep(SECOND).await;
                if end == End::Cancelled {
                    child.cancel().await;
                } else {
                    drop(child.await);
                }
                Ok::<_, MainError>(())
            });
            assert_eq!(trial.outcome.is_ok(), end != End::Violated, "{end:?}");
            log.assert_is(&["guard", "last", "between", "first"]);
        }
    }
}

#[test]
fn deferred_futures_of_a_main_that_fails_run_on_all_domains() {
    for seed in SEEDS {
        let log = Log::new();
        let (here, there) = (log.clone(), log.clone());
        let trial = Check::simulated().trial(seed, async move {
            defer(async move {
                sleep(SECOND).await;
                here.push("main");
            });
            let _child = call(move || async move {
                defer(async move {
                    sleep(SECOND).await;
                    there.push("child");
                });
                pending::<()>().await;
            })?;
            sleep(SECOND).await;
            Err::<(), MainError>("main fails".into())
        });
        assert!(matches!(trial.outcome, Err(RunError::Failed(_))));
        log.assert_is(&["child", "main"]);
    }
}

#[test]
fn a_deferred_future_that_exceeds_the_grace_period_is_dropped_and_reported() {
    let log = Log::new();
    let inner_log = log.clone();
    let trial = Check::simulated().grace(SECOND).trial(1, async move {
        let child = spawn(async move {
            let guard = inner_log.on_drop("dropped");
            defer(async move {
                let _guard = guard;
                pending::<()>().await;
            });
        });
        child.await?;
        Ok::<_, MainError>(())
    });
    let text = trial.outcome.unwrap_err().to_string();
    assert!(text.contains("error[FinalizerUnfinished]"), "{text}");
    assert!(text.contains("deferred future #"), "{text}");
    assert!(text.contains("deferred.rs"), "{text}");
    log.assert_is(&["dropped"]);
    assert_eq!(trial.elapsed.as_secs(), 1, "it had exactly the grace period");
}

#[test]
fn a_deferred_future_that_panics_fails_its_task_and_no_other_future() {
    check(SEEDS, || async {
        let log = Log::new();
        let inner = log.clone();
        let child = spawn(async move {
            defer(async move { inner.push("oldest") });
            defer(async { panic!("on purpose") });
        });
        let error = child.await.unwrap_err();
        assert!(error.is_panicked());
        assert!(error.to_string().contains("on purpose"), "{error}");
        log.assert_is(&["oldest"]);
    });
}

#[test]
fn a_deferred_future_is_not_cancelled() {
    check(SEEDS, || async {
        let log = Log::new();
        let inner = log.clone();
        let parent = spawn(async move {
            let child = spawn(async move {
                defer(async move {
                    sleep(2 * SECOND).await;
                    inner.push("done");
                });
            });
            // The body of the child has returned when the parent is cancelled; only its finalizer
            // still runs.
            let _ = child.await;
        });
        sleep(SECOND).await;
        parent.cancel().await;
        log.assert_is(&["done"]);
    });
}
