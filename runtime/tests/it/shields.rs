//! Goal: a shielded task continues when its parent is cancelled, is notified of the cancellation,
//! and
//! ends within its limit.
//! Method: bodies under many seeds, in virtual time, on three domains.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::test::{Check, check};
use matou_runtime::{
    MainError, Orphans, Task, TaskError, call, cancelled, now, race, shield, sleep, spawn, timeout,
    try_shield, yield_now,
};

use crate::support::{Log, Place, fewer};

const SEEDS: std::ops::Range<u64> = 0..fewer(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_shielded_task_continues_when_its_parent_is_cancelled() {
    check(SEEDS, || async {
        for place in Place::BOTH {
            let log = Log::new();
            let inner = log.clone();
            let child = place.spawn(move || async move {
                let _guard = inner.on_drop("guard dropped");
                let done = inner.clone();
                let _ = shield(async move {
                    sleep(SECOND).await;
                    done.push("committed");
                })
                .await;
            });
            sleep(SECOND / 2).await;
            child.cancel().await;
            log.push("cancelled");
            log.assert_is(&["committed", "guard dropped", "cancelled"]);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_is_limited_in_time_once_it_is_cancelled() {
    check(SEEDS, || async {
        let ended = Rc::new(Cell::new(false));
        struct SetOnDrop(Rc<Cell<bool>>);
        impl Drop for SetOnDrop {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let flag = SetOnDrop(Rc::clone(&ended));
        let child = spawn(async {
            let shield = shield(async move {
                let _flag = flag;
                pending::<()>().await;
            });
            let _ = shield.limit(3 * SECOND).await;
        });
        sleep(100 * SECOND).await;
        assert!(!ended.get(), "no cancellation was requested yet");
        let cancelled_at = now();
        child.cancel().await;
        assert_eq!(now() - cancelled_at, 3 * SECOND);
        assert!(ended.get());
    });
}

#[test]
fn a_shield_without_a_limit_has_the_grace_period() {
    Check::simulated().grace(7 * SECOND).run(SEEDS, || async {
        let child = spawn(async {
            let _ = shield(pending::<()>()).await;
        });
        yield_now().await;
        let cancelled_at = now();
        child.cancel().await;
        assert_eq!(now() - cancelled_at, 7 * SECOND);
    });
}

#[test]
fn a_dropped_shield_is_no_violation_and_its_parent_waits_for_it() {
    check(SEEDS, || async {
        for place in Place::BOTH {
            let log = Log::new();
            let inner = log.clone();
            let child = place.spawn(move || async move {
                let committed = inner.clone();
                let commit = shield(async move {
                    sleep(SECOND).await;
                    committed.push("committed");
                });
                let given_up = timeout(SECOND / 10, commit).await;
                assert!(given_up.is_err());
                inner.push("given up");
            });
            child.await?;
            log.push("complete");
            log.assert_is(&["given up", "committed", "complete"]);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_dropped_shield_has_no_limit_while_its_parent_runs() {
    check(SEEDS, || async {
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let child = spawn(async move {
            drop(shield(async move {
                sleep(1000 * SECOND).await;
                commit.set(true);
            }));
            sleep(2000 * SECOND).await;
        });
        child.await?;
        assert!(committed.get());
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_dropped_on_another_domain_continues() {
    check(SEEDS, || async {
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let parent = spawn(async move {
            let shield = shield(async move {
                sleep(SECOND).await;
                commit.set(true);
            });
            call(move || async move { drop(shield) })?.await?;
            Ok::<_, MainError>(())
        });
        parent.await??;
        assert!(committed.get());
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_returns_the_outcome_of_its_task() {
    check(SEEDS, || async {
        assert_eq!(shield(async { 7 }).await?, 7);
        let failed = try_shield(async { Err::<(), _>("no") }).await;
        assert!(matches!(failed, Err(TaskError::Failed { error: "no", .. })));
        let ready = shield(async { 8 });
        sleep(SECOND).await;
        drop(ready);
        Ok::<_, MainError>(())
    });
}

#[test]
fn descendants_of_a_shield_are_protected_and_notified_of_a_cancellation() {
    check(SEEDS, || async {
        let notified = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&notified);
        let parent = Task::new().name("parent").spawn(async move {
            let _ = shield(async move {
                let listen = |count: &Arc<AtomicU32>| {
                    let count = Arc::clone(count);
                    move || async move {
                        let cancelled = cancelled().await;
                        assert_eq!(cancelled.reason(), Some("closing"));
                        assert_eq!(cancelled.by_name(), Some("main"));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let here = spawn(listen(&count)());
                let nested = listen(&count);
                let nested = spawn(async move { spawn(nested()).await });
                let there = call(listen(&count))?;
                let further = listen(&count);
                let further = call(move || async move {
                    spawn(further()).await.map_err(|error| error.to_string())
                })?;
                here.await?;
                nested.await??;
                there.await?;
                further.await??;
                // Tasks spawned after the request see it at once.
                spawn(listen(&count)()).await?;
                call(listen(&count))?.await?;
                Ok::<_, MainError>(())
            })
            .await;
        });
        sleep(SECOND).await;
        let cancelled_at = now();
        parent.cancel_because("closing").await;
        assert_eq!(notified.load(Ordering::Relaxed), 6);
        assert!(now() - cancelled_at < SECOND, "no limit had to elapse");
    });
}

#[test]
fn a_task_without_a_shield_is_cancelled_without_notice() {
    check(SEEDS, || async {
        let child = spawn(async {
            cancelled().await;
            unreachable!("a cancelled task is not polled again")
        });
        sleep(SECOND).await;
        assert!(child.cancel().await.is_none());
    });
}

#[test]
fn a_nested_shield_has_its_own_limit() {
    check(SEEDS, || async {
        let child = spawn(async {
            let outer = shield(async {
                let _ = shield(pending::<()>()).limit(5 * SECOND).await;
            });
            let _ = outer.limit(2 * SECOND).await;
        });
        yield_now().await;
        yield_now().await;
        let cancelled_at = now();
        child.cancel().await;
        // The outer shield ends after 2 seconds. Only then is the inner one cancelled, and its
        // limit begins.
        assert_eq!(now() - cancelled_at, 7 * SECOND);
    });
}

#[test]
fn a_shield_with_unlimited_time_is_waited_for() {
    check(SEEDS, || async {
        let child = spawn(async {
            let _ = shield(sleep(1_000_000 * SECOND)).limit(Duration::MAX).await;
        });
        yield_now().await;
        let cancelled_at = now();
        child.cancel().await;
        assert!(now() - cancelled_at >= 999_999 * SECOND);
    });
}

#[test]
fn a_violation_ends_a_shield_when_its_limit_has_elapsed() {
    for seed in SEEDS {
        let reason = Arc::new(Mutex::new(String::new()));
        let slot = Arc::clone(&reason);
        let trial = Check::simulated().trial(seed, async move {
            let shielded = Task::new().name("shielded").call(|| async {
                let _ = shield(async move {
                    *slot.lock().unwrap() = cancelled().await.to_string();
                    pending::<()>().await;
                })
                .limit(SECOND)
                .await;
            })?;
            sleep(SECOND).await;
            let offender = Task::new().name("offender").spawn(async {
                let _forgotten = spawn(pending::<()>());
            });
            drop(offender.await);
            shielded.await?;
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        assert!(error.report().is_some(), "{error}");
        let reason = reason.lock().unwrap().clone();
        assert!(reason.contains("`offender` violated a rule: StillHasChildren"), "{reason}");
        assert!(trial.elapsed < 3 * SECOND, "{:?}", trial.elapsed);
    }
}

#[test]
fn a_group_in_a_shield_is_protected() {
    check(SEEDS, || async {
        let served = Rc::new(Cell::new(0));
        let count = Rc::clone(&served);
        let server = spawn(async move {
            let _ = shield(async move {
                let clients = Orphans::new();
                for _ in 0..3 {
                    let count = Rc::clone(&count);
                    let client = Task::new().orphans(&clients).spawn(async move {
                        sleep(2 * SECOND).await;
                        count.set(count.get() + 1);
                    });
                    client.expect("there is no limit");
                }
                let stop = async {
                    cancelled().await;
                };
                race(stop, pending()).await;
                while clients.next().await.is_some() {}
            })
            .await;
        });
        sleep(SECOND).await;
        server.cancel().await;
        assert_eq!(served.get(), 3);
    });
}

#[test]
fn a_shield_may_be_named_and_given_a_resource() {
    check(SEEDS, || async {
        let log = Log::new();
        let inner_log = log.clone();
        let shared = Arc::new(Owned::new((), move |()| inner_log.push("finalized")));
        let used = Arc::clone(&shared);
        let inner = log.clone();
        let worker = Task::new().give(&shared).spawn(async move {
            let shield = Task::new().name("commit").give(&shared).shield(async move {
                let why = cancelled().await.to_string();
                assert!(used.get().is_ok(), "the shield owns it");
                inner.push("used");
                why
            });
            drop(shared);
            let _ = shield.await;
        });
        sleep(SECOND).await;
        worker.cancel().await;
        log.assert_is(&["used", "finalized"]);
    });
}
