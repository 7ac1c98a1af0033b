//! Goal: a deadline applies to the block and to all descendants that it spawns.
//! Method: bodies under many seeds, in virtual time, on three domains.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use matou_runtime::test::{Check, check};
use matou_runtime::{
    Elapsed, MainError, Promise, TaskError, call, deadline, now, remaining, shield, sleep,
    sleep_until, spawn, yield_now,
};

use crate::support::{Log, Place, fewer};

const SEEDS: std::ops::Range<u64> = 0..fewer(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_deadline_ends_the_block_and_all_children_it_spawned() {
    check(SEEDS, || async {
        for place in Place::BOTH {
            let begun = now();
            let log = Log::new();
            let outer = log.clone();
            let ended: Result<(), Elapsed> = deadline(begun + SECOND, async move {
                let inner = outer.clone();
                let child = place.spawn(move || async move {
                    let _guard = inner.on_drop("child dropped");
                    let deeper = inner.clone();
                    spawn(async move {
                        let _guard = deeper.on_drop("grandchild dropped");
                        pending::<()>().await;
                    })
                    .await
                    .ok();
                });
                child.await.ok();
                pending().await
            })
            .await;
            assert_eq!(ended, Err(Elapsed));
            assert_eq!(now() - begun, SECOND);
            sleep(SECOND).await;
            log.assert_is(&["grandchild dropped", "child dropped"]);
        }
    });
}

#[test]
fn a_child_keeps_the_deadline_of_the_block_that_spawned_it() {
    check(SEEDS, || async {
        for place in Place::BOTH {
            let begun = now();
            #[expect(clippy::async_yields_async, reason = "the block returns the promise")]
            let spawned = deadline(begun + SECOND, async move {
                place.spawn(move || async move {
                    // Its children inherit the deadline.
                    let inner = spawn(pending::<()>());
                    let outcome = inner.await;
                    panic!("it is ended with its child, which was {outcome:?}");
                })
            });
            let child: Promise<()> = spawned.await?;
            let Err(TaskError::Cancelled(cancelled)) = child.await else {
                panic!("it was cancelled");
            };
            let text = cancelled.to_string();
            assert!(
                text.contains("because its deadline passed, which was set by task #1 at"),
                "{text}"
            );
            assert_eq!(cancelled.at().expect("a line").file(), file!());
            assert!(now() - begun >= SECOND);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_earliest_deadline_of_all_ancestors_applies() {
    check(SEEDS, || async {
        let begun = now();
        let (soon, late) = (begun + SECOND, begun + 10 * SECOND);
        let ended = deadline(soon, async move {
            let child = call(move || async move {
                deadline(late, async move {
                    assert!(remaining().expect("a deadline") <= SECOND);
                    let deeper = spawn(async { remaining() });
                    assert!(deeper.await.expect("it returns").expect("a deadline") <= SECOND);
                    pending::<()>().await;
                })
                .await
            });
            child.expect("there is a domain").await.is_ok()
        });
        assert!(matches!(ended.await, Err(Elapsed) | Ok(false)));
        assert_eq!(now() - begun, SECOND);

        let nearer = deadline(late, async move {
            let begun = now();
            let inner = deadline(begun + SECOND, pending::<()>()).await;
            (inner, now() - begun, remaining())
        });
        let (inner, took, left) = nearer.await?;
        assert_eq!((inner, took), (Err(Elapsed), SECOND));
        assert_eq!(left, Some(8 * SECOND), "the outer deadline applies again");
        assert_eq!(remaining(), None);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_panic_restores_the_previous_deadline() {
    check(0..3, || async {
        let child = spawn(async {
            let inner = std::panic::AssertUnwindSafe(deadline(now() + SECOND, async {
                assert!(remaining().is_none(), "panics here");
            }));
            let caught = futures::FutureExt::catch_unwind(inner).await;
            assert!(caught.is_err());
            remaining()
        });
        assert_eq!(child.await?, None);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_does_not_inherit_a_deadline() {
    check(SEEDS, || async {
        let begun = now();
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let child = spawn(async move {
            deadline(begun + SECOND, async move {
                let _ = shield(async move {
                    assert_eq!(remaining(), None);
                    sleep_until(begun + 5 * SECOND).await;
                    commit.set(true);
                })
                .await;
            })
            .await
        });
        assert_eq!(child.await?, Err(Elapsed));
        assert!(committed.get());
        assert_eq!(now() - begun, 5 * SECOND);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_task_that_ends_in_time_removes_its_timer() {
    let trial = Check::simulated().trace(usize::MAX).trial(1, async {
        let early = deadline(now() + 1000 * SECOND, async {
            for _ in 0..100 {
                spawn(yield_now()).await?;
                call(yield_now)?.await?;
            }
            Ok::<_, MainError>(())
        });
        early.await??;
        sleep(2000 * SECOND).await;
        Ok::<_, MainError>(())
    });
    trial.outcome.unwrap();
    let late = trial.trace.iter().filter(|event| event.at() >= 1000 * SECOND);
    let fired: Vec<String> = late.map(|event| event.to_string()).collect();
    let fired: Vec<_> = fired.iter().filter(|event| event.contains("timer")).collect();
    assert_eq!(fired.len(), 1, "only that of the last sleep: {fired:?}");
    assert!(fired[0].ends_with("a timer fires"), "{fired:?}");
}
