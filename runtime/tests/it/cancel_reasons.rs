//! Goal: a shielded task can read which task cancelled it, at which line, and why.
//!
//! Method: a shielded child records the reason, under many seeds and in virtual time.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_runtime::test::{Check, check};
use matou_runtime::{
    MainError, Promise, RunError, Task, cancelled, deadline, now, race, shield, sleep, spawn,
    timeout, yield_now,
};

use crate::support::{Place, fewer};

const SEEDS: std::ops::Range<u64> = 0..fewer(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_cancel_reason_names_the_canceller_its_line_and_its_text() {
    check(SEEDS, || async {
        for place in Place::BOTH {
            let reason = Arc::new(Mutex::new(None));
            let slot = Arc::clone(&reason);
            let grandparent = place.spawn(move || async move {
                let child = spawn(async move {
                    let _ = shield(async move {
                        *slot.lock().unwrap() = Some(cancelled().await);
                    })
                    .await;
                });
                let _ = child.await;
            });
            sleep(SECOND).await;
            let line = line!() + 1;
            grandparent.cancel_because("shutting down").await;
            let reason = reason.lock().unwrap().take().expect("a reason");
            assert_eq!(reason.at().expect("a line").line(), line);
            assert_eq!(reason.by().expect("a task").as_u64(), 1);
            assert_eq!((reason.by_name(), reason.reason()), (Some("main"), Some("shutting down")));
            assert!(reason.is_inherited());
            let text = reason.to_string();
            let expected = "with an ancestor that was cancelled by task #1 `main` at ";
            assert!(text.contains(expected) && text.ends_with(": shutting down"), "{text}");
        }
        Ok::<_, MainError>(())
    });
}

/// Spawns a task with a shielded child that records its cancel reason.
fn spawn_with_shield(reason: &Rc<RefCell<String>>) -> Promise<(), String> {
    let slot = Rc::clone(reason);
    Task::new().name("parent").try_spawn(async move {
        drop(shield(async move {
            let why = cancelled().await;
            assert_eq!(why.at().expect("a line").file(), file!(), "{why}");
            *slot.borrow_mut() = why.to_string();
        }));
        sleep(10 * SECOND).await;
        Err::<(), _>("it fails".to_owned())
    })
}

/// The cancel reason that the shielded child of a task receives when `end` ends the task.
async fn reason_of<F>(end: impl FnOnce(Promise<(), String>) -> F) -> String
where
    F: Future<Output = ()>,
{
    let reason = Rc::default();
    let child = spawn_with_shield(&reason);
    sleep(SECOND).await;
    end(child).await;
    sleep(100 * SECOND).await;
    reason.take()
}

#[test]
fn each_kind_of_cancellation_has_its_reason() {
    check(SEEDS, || async {
        let failed = reason_of(|child| async { drop(child.await) }).await;
        assert!(failed.contains("because its parent, task #2 `parent` (spawned at "), "{failed}");
        assert!(failed.ends_with("), ended"), "{failed}");
        let asked = reason_of(|child| async {
            let _ = child.cancel().await;
        })
        .await;
        assert!(asked.contains("cancelled by task #1 `main` at "), "{asked}");
        let given_up = reason_of(|child| async {
            assert!(timeout(SECOND, child).await.is_err());
        });
        let given_up = given_up.await;
        let expected = "because task #1 `main` dropped the branch that held it at ";
        assert!(given_up.contains(expected), "{given_up}");

        let reason = Rc::default();
        let making = std::future::poll_fn(|_| std::task::Poll::Ready(spawn_with_shield(&reason)));
        let late = deadline(now() + SECOND, making).await?;
        sleep(2 * SECOND).await;
        drop(late.await);
        let late = reason.take();
        assert!(late.contains("its deadline passed, which was set by task #1 at "), "{late}");
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_violation_is_a_reason() {
    for seed in SEEDS {
        let reason = Rc::new(RefCell::new(String::new()));
        let slot = Rc::clone(&reason);
        let trial = Check::simulated().trial(seed, async move {
            let listener = spawn(async move {
                let _ = shield(async move {
                    *slot.borrow_mut() = cancelled().await.to_string();
                })
                .await;
            });
            sleep(SECOND).await;
            let offender =
                Task::new().name("offender").spawn(async { drop(spawn(pending::<()>())) });
            drop(offender.await);
            listener.await?;
            Ok::<_, MainError>(())
        });
        assert!(matches!(trial.outcome, Err(RunError::Violated(_))), "{:?}", trial.outcome);
        let reason = reason.take();
        assert!(reason.contains("`offender` violated a rule: StillHasChildren"), "{reason}");
    }
}

#[test]
fn the_reason_of_an_abandoned_branch_names_the_line_of_the_combinator() {
    check(SEEDS, || async {
        let reason = Rc::default();
        let child = spawn_with_shield(&reason);
        sleep(SECOND).await;
        let line = line!() + 1;
        race(async { drop(child.await) }, sleep(SECOND)).await;
        sleep(SECOND).await;
        let reason = reason.take();
        assert!(reason.contains(&format!("cancel_reasons.rs:{line}:")), "{reason}");
        sleep(100 * SECOND).await;
    });
}

#[test]
fn a_dropped_promise_is_a_reason() {
    Check::simulated().forgotten(matou_runtime::Forgotten::Cancel).run(SEEDS, || async {
        let dropped = reason_of(|child| async { drop(child) }).await;
        assert!(
            dropped.contains("because task #1 `main` dropped its promise (spawned at "),
            "{dropped}"
        );
    });
}

#[test]
fn a_report_says_why_a_child_was_cancelled() {
    let trial = Check::simulated().trial(1, async {
        let parent = Task::new().name("parent").spawn(async {
            let child = Task::new().name("slow").spawn(async {
                let _ = shield(pending::<()>()).limit(SECOND).await;
            });
            yield_now().await;
            let _ = timeout(SECOND, child.cancel_because("too slow")).await;
            drop(spawn(pending::<()>()));
        });
        parent.await?;
        Ok::<_, MainError>(())
    });
    let text = trial.outcome.unwrap_err().to_string();
    assert!(text.contains("terminating (the task was cancelled because"), "{text}");
    assert!(text.contains("`parent` dropped its promise"), "{text}");
}
