//! R10 with `Violations::FailTask`, the default: a violation ends the task that committed it, with
//! its subtree and finalizers. The parent receives it as it would receive a panic, and all other
//! tasks go on. A violation that no parent can receive is the error of the run.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{Check, send_signal};
use matou_runtime::{
    Diagnostic, Leaks, MainError, Orphans, Outcome, Promise, RunError, Task, TaskError, TryNext,
    Violations, await_all, await_first, defer, race, shield, sleep, spawn, try_spawn, yield_now,
};

use crate::support::*;

/// Commits a violation.
fn offend(kind: &'static str) -> Pin<Box<dyn Future<Output = ()>>> {
    let log = Log::new();
    Box::pin(async move {
        match kind {
            "NotOwner" => {
                let shared = Arc::new(log.resource("shared"));
                let theirs = shared.clone();
                let owner = Task::new().give(&shared).spawn(async move {
                    let _theirs = theirs;
                    pending::<()>().await;
                });
                assert!(shared.get().is_err());
                owner.cancel().await;
            }
            "NotAChild" => stolen_promise().await.await.unwrap(),
            "StillHasChildren" => leak(spawn(pending::<()>())),
            "ResourceLeaked" => leak(log.resource("leaked")),
            "FinalizerUnfinished" => drop(Owned::with_async((), |()| pending())),
            other => panic!("{other}"),
        }
    })
}

/// The promise of another task's child. The other task is a child of the current task, which stays.
async fn stolen_promise() -> Promise<()> {
    let stolen = Arc::new(Mutex::new(None));
    let theirs = stolen.clone();
    let owner = spawn(async move {
        *theirs.lock().unwrap() = Some(spawn(pending()));
        pending::<()>().await;
    });
    let promise = loop {
        if let Some(promise) = stolen.lock().unwrap().take() {
            break promise;
        }
        yield_now().await;
    };
    leak(owner);
    promise
}

const KINDS: [&str; 5] =
    ["NotOwner", "NotAChild", "StillHasChildren", "ResourceLeaked", "FinalizerUnfinished"];

/// The name of the only violation in an outcome.
#[track_caller]
fn violation_in<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Outcome<T, E>) -> &'static str {
    match outcome {
        Err(TaskError::Violation(report)) => match report.violations() {
            [violation] => violation.name(),
            _ => panic!("expected one violation: {report}"),
        },
        other => panic!("no violation: {other:?}"),
    }
}

fn contained() -> (matou_runtime::Builder, Reports) {
    let (builder, reports) = Reports::collected();
    (builder.leaks(Leaks::AtTaskEnd).grace(Duration::from_millis(20)), reports)
}

/// A parent whose child violates a rule, with a sibling that must not notice.
async fn parent_of_an_offender(kind: &'static str, place: Place) -> Result<(), MainError> {
    let log = Log::new();
    let sibling = place.spawn(|| async {
        for _ in 0..100 {
            yield_now().await;
        }
        "sibling"
    });
    let offender_log = log.clone();
    let offender = place.spawn_task(Task::new().name("offender"), move || async move {
        let _guard = offender_log.on_drop("dropped");
        let grandchild_log = offender_log.clone();
        let grandchild = spawn(async move {
            let _guard = grandchild_log.on_drop("grandchild dropped");
            pending::<()>().await;
        });
        yield_now().await;
        offend(kind).await;
        grandchild.cancel().await;
        if matches!(kind, "NotOwner" | "NotAChild") {
            yield_now().await;
            offender_log.push("resumed");
        }
    });
    assert_eq!(violation_in(offender.await), kind);
    log.assert_is(&["grandchild dropped", "dropped"]);
    assert_eq!(sibling.await?, "sibling");
    Ok(())
}

#[test]
fn a_violation_ends_its_task_only_and_its_parent_receives_it() {
    for kind in KINDS {
        for place in Place::BOTH {
            let (builder, reports) = contained();
            let builder = builder.domains(place.domains());
            run_with(builder, move || parent_of_an_offender(kind, place)).unwrap();
            assert_eq!(reports.names(), [kind], "{place:?}");
            let Diagnostic::Violation(violation) = reports.one() else { unreachable!() };
            assert_eq!(violation.task().name.as_deref(), Some("offender"));
        }
    }
}

#[test]
fn a_violation_is_contained_in_simulated_runs() {
    for kind in KINDS {
        let check = Check::simulated().violations(Violations::FailTask).on_report(|_| ());
        check.run(0..20, || parent_of_an_offender(kind, Place::Remote));
    }
}

#[test]
fn with_fail_run_the_same_violation_is_the_error_of_the_run() {
    for kind in KINDS {
        for place in Place::BOTH {
            let (builder, reports) = contained();
            let builder = builder.domains(place.domains()).violations(Violations::FailRun);
            let result = run_with(builder, move || parent_of_an_offender(kind, place));
            assert_eq!(violation(result).name(), kind);
            assert_eq!(reports.names(), [kind], "{place:?}");
        }
    }
}

#[test]
fn each_way_to_receive_an_outcome_receives_the_violation() {
    let (builder, _) = contained();
    run_with(builder.domains(1), || async {
        let offender = || spawn(offend("StillHasChildren"));
        let group = Orphans::new();
        Task::new().orphans(&group).spawn(offend("NotOwner")).unwrap();
        assert_eq!(violation_in(group.next().await.expect("there is a child")), "NotOwner");
        Task::new().orphans(&group).spawn(offend("NotOwner")).unwrap();
        loop {
            match group.care() {
                TryNext::Completed(outcome) => break assert_eq!(violation_in(outcome), "NotOwner"),
                TryNext::Pending => yield_now().await,
                TryNext::Empty => panic!("the child was lost"),
            }
        }
        for outcome in await_all([offender(), offender()]).await {
            assert_eq!(violation_in(outcome), "StillHasChildren");
        }
        let first = await_first([offender(), spawn(pending())]).await;
        assert_eq!(violation_in(first), "StillHasChildren");
        assert_eq!(violation_in(shield(offend("NotAChild")).await), "NotAChild");
        let ended = offender();
        sleep(Duration::from_millis(1)).await;
        let outcome = ended.cancel().await.expect("it had ended before");
        assert_eq!(violation_in(outcome), "StillHasChildren");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_foreign_use_in_the_drop_of_a_body_or_in_a_finalizer_is_the_outcome() {
    /// Uses a resource of another task when it is dropped.
    struct Uses(Arc<Owned<&'static str>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            assert!(self.0.get().is_err());
        }
    }
    let (builder, reports) = contained();
    run_with(builder.domains(1), || async {
        let shared = Arc::new(Log::new().resource("of main"));
        // At the end of the task, and when its future is dropped because it is cancelled.
        let uses = Uses(shared.clone());
        let returns = spawn(async move { drop(uses) });
        assert_eq!(violation_in(returns.await), "NotOwner");
        let uses = Uses(shared.clone());
        let cut_off = spawn(async move {
            let _uses = uses;
            let _own = Log::new().resource("own");
            pending::<()>().await
        });
        yield_now().await;
        let outcome = cut_off.cancel().await.expect("the drop has violated a rule");
        assert_eq!(violation_in(outcome), "NotOwner");
        // The value of a task whose end is abnormal is dropped as a part of the task.
        let uses = Uses(shared.clone());
        let value = spawn(async move {
            leak(spawn(pending::<()>()));
            let _own = Log::new().resource("own");
            uses
        });
        match value.await.map(drop) {
            Err(TaskError::Violation(report)) => {
                let names: Vec<_> = report.violations().iter().map(|each| each.name()).collect();
                assert_eq!(names, ["StillHasChildren", "NotOwner"]);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["NotOwner", "NotOwner", "StillHasChildren", "NotOwner"]);
}

#[test]
fn an_offender_that_returns_in_the_same_poll_has_not_returned_a_value() {
    let (builder, _) = contained();
    run_with(builder.domains(1), || async {
        let child = spawn(async {
            let promise = stolen_promise().await;
            // The request is refused at once, and no future waits for it.
            drop(promise.cancel());
            7
        });
        assert_eq!(violation_in(child.await), "NotAChild");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_outcome_names_the_violation_first_and_keeps_the_other_causes() {
    let (builder, reports) = contained();
    run_with(builder.domains(1), || async {
        let shared = Arc::new(Log::new().resource("of main"));
        let theirs = shared.clone();
        let fails =
            try_spawn(async move { theirs.get().map(drop).map_err(|error| error.to_string()) });
        let error = fails.await.unwrap_err();
        assert!(error.is_violation());
        let [cause] = error.further_causes() else { panic!("{error}") };
        assert!(cause.to_string().starts_with("it failed: "), "{cause}");
        let theirs = shared.clone();
        let panics = spawn(async move {
            let _own = Owned::new((), |()| panic!("a finalizer that panics"));
            theirs.get().map(drop).expect("it belongs to another task");
        });
        let error = panics.await.unwrap_err();
        let causes: Vec<_> = error.further_causes().iter().map(ToString::to_string).collect();
        assert_eq!(violation_in(Err::<(), _>(error)), "NotOwner");
        let [body, finalizer] = &causes[..] else { panic!("{causes:?}") };
        assert!(body.contains("it panicked") && body.contains("another task"), "{body}");
        assert!(finalizer.contains("a finalizer that panics"), "{finalizer}");
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["NotOwner", "NotOwner"]);
}

#[test]
fn a_panic_comes_before_an_error_and_all_panics_are_kept() {
    run_on(1, || async {
        let child = try_spawn(async {
            leak(Owned::new((), |()| panic!("the first finalizer")));
            leak(Owned::new((), |()| panic!("the second finalizer")));
            Err::<(), _>("the error".to_owned())
        });
        let error = child.await.unwrap_err();
        assert!(error.is_panicked() && error.to_string().contains("the second finalizer"));
        let causes: Vec<_> = error.further_causes().iter().map(ToString::to_string).collect();
        assert_eq!(causes.len(), 2, "{causes:?}");
        assert!(causes.iter().any(|cause| cause.contains("the first finalizer")), "{causes:?}");
        assert!(causes.iter().any(|cause| cause == "it failed: the error"), "{causes:?}");
        assert!(error.to_string().contains("\n  = also: it failed: the error"), "{error}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_violation_of_main_is_the_error_of_the_run() {
    for kind in KINDS {
        let (builder, reports) = contained();
        let result = run_with(builder.domains(1), move || async move {
            offend(kind).await;
            Ok(())
        });
        let violation = violation(result);
        assert_eq!((violation.name(), violation.task().name.as_deref()), (kind, Some("main")));
        assert_eq!(reports.names(), [kind]);
    }
}

#[test]
fn a_violation_of_a_signal_handler_is_the_error_of_the_run() {
    for kind in KINDS {
        let check = Check::simulated().violations(Violations::FailTask).on_report(|_| ());
        let trial = check.trial(7, async move {
            signal::on(Signal::Terminate, move || offend(kind))?;
            assert!(send_signal(Signal::Terminate));
            pending::<Result<(), MainError>>().await
        });
        assert_eq!(violation(trial.outcome).name(), kind);
    }
}

/// A waker that cancels a promise, outside any task.
struct CancelsOnWake(Mutex<Option<Promise<()>>>);

impl Wake for CancelsOnWake {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take().map(Promise::cancel));
    }
}

#[test]
fn a_violation_by_code_outside_any_task_is_the_error_of_the_run() {
    let main = || async {
        let child = spawn(pending());
        let waker = Arc::new(CancelsOnWake(Mutex::new(Some(child)))).into();
        let mut timer = Box::pin(sleep(Duration::from_millis(1)));
        assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        pending::<Result<(), MainError>>().await
    };
    let (builder, reports) = contained();
    let result = violation(run_with(builder.domains(1), main));
    assert_eq!(result.name(), "NotAChild");
    assert!(result.to_string().contains("code outside any task"), "{result}");
    assert_eq!(reports.names(), ["NotAChild"]);
    let check = Check::simulated().violations(Violations::FailTask).on_report(|_| ());
    assert_eq!(violation(check.trial(7, main()).outcome).name(), "NotAChild");
}

#[test]
fn f05_a_foreign_use_in_the_drop_of_an_outcome_that_no_task_takes_is_reported() {
    struct Uses(Arc<Owned<u8>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            assert!(self.0.get().is_err());
        }
    }
    let main = || async {
        let owned = Arc::new(Owned::new(1, drop));
        let other = owned.clone();
        // The shield goes on, and its outcome is dropped when it has ended.
        drop(shield(async move { Uses(other) }));
        sleep(Duration::from_millis(1)).await;
        Ok(())
    };
    let (builder, reports) = contained();
    run_with(builder.domains(1), main).unwrap();
    assert_eq!(reports.names(), ["NotOwner"]);
    assert_eq!(violation(run_on(1, main)).name(), "NotOwner");
    let trial = Check::simulated().on_report(|_| ()).trial(7, main());
    assert_eq!(violation(trial.outcome).name(), "NotOwner");
}

#[test]
fn a_foreign_use_in_the_drop_of_an_outcome_that_a_panic_replaces_is_the_outcome() {
    struct Uses(Arc<Owned<&'static str>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            assert!(self.0.get().is_err());
        }
    }
    let (builder, reports) = contained();
    run_with(builder.domains(1), || async {
        let shared = Arc::new(Log::new().resource("of main"));
        let uses = Uses(shared.clone());
        let child = spawn(async move {
            defer(async { panic!("of a finalizer") });
            uses
        });
        match child.await.map(drop) {
            Err(TaskError::Violation(report)) => {
                assert_eq!(report.violations()[0].name(), "NotOwner");
                assert_eq!(report.further_causes().len(), 1, "{report}");
            }
            other => panic!("{other:?}"),
        }
        // A task that takes over its place is not blamed for it.
        let next = spawn(pending::<()>());
        yield_now().await;
        assert!(next.cancel().await.is_none());
        drop(shared);
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["NotOwner"]);
}

#[test]
fn a_violation_of_a_task_that_was_given_up_is_reported_and_fails_no_other_task() {
    let (builder, reports) = contained();
    run_with(builder.domains(3), || async {
        for place in Place::BOTH {
            // The branch is dropped while the offender runs.
            let offender = place.spawn(|| offend("FinalizerUnfinished"));
            race(yield_now(), async { drop(offender.await) }).await;
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .unwrap();
    let names = reports.names();
    assert!(names.iter().all(|name| *name == "FinalizerUnfinished"), "{names:?}");
}

#[test]
fn a_parent_may_return_the_violation_of_its_child_and_the_run_prints_it() {
    let (builder, _) = contained();
    let result: Result<(), RunError> = run_with(builder.domains(1), || async {
        let service = try_spawn(async {
            spawn(offend("StillHasChildren")).await?;
            Ok::<_, MainError>(())
        });
        Ok(service.await?)
    });
    let text = result.unwrap_err().to_string();
    assert!(text.starts_with("main failed: task #2, spawned at "), "{text}");
    let end =
        ", violated a rule:\nerror[StillHasChildren]: task #3 on domain 0 ended and left 1 child";
    assert!(text.contains(end), "{text}");
}

#[test]
fn catch_unwind_hides_no_violation_from_the_parent() {
    let (builder, _) = contained();
    run_with(builder.domains(1), || async {
        let child = spawn(async {
            let shared = Arc::new(Log::new().resource("shared"));
            let owner = Task::new().give(&shared).spawn(pending::<()>());
            let caught = catch_unwind(AssertUnwindSafe(|| {
                shared.get().map(drop).expect("it was given away");
            }));
            assert!(caught.is_err());
            owner.cancel().await;
        });
        assert_eq!(violation_in(child.await), "NotOwner");
        Ok(())
    })
    .unwrap();
}
