//! R10: findings, and how diagnostics reach the user: after the poll, under no lock, each of them,
//! whichever code reports it. Failures that no task receives are findings, so none is lost.

use std::future::pending;
use std::io;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{Check, Trial, send_signal};
use matou_runtime::{
    Builder, Diagnostic, MainError, Orphans, RunError, Task, await_first, live_tasks, shield,
    sleep, spawn, try_spawn, yield_now,
};

use crate::support::*;

#[test]
fn the_error_of_a_child_whose_parent_fails_too_is_reported() {
    for place in Place::BOTH {
        let (builder, reports) = Reports::collected();
        let result: Result<(), RunError> =
            run_with(builder.domains(place.domains()), move || async move {
                let parent = try_spawn(async move {
                    let failed = Counter::new();
                    let inside = failed.clone();
                    let _child = place.try_spawn(move || async move {
                        inside.add();
                        Err::<(), _>(io::Error::other("the child's error"))
                    });
                    failed.reaches(1).await;
                    sleep(Duration::from_millis(1)).await;
                    Err::<(), _>("the parent's error")
                });
                assert_eq!(parent.await.unwrap_err().into_failure(), Some("the parent's error"));
                Ok(())
            });
        result.unwrap();
        let (task, causes) = reports.unseen();
        assert_eq!(causes, ["it failed: the child's error"]);
        assert_eq!(task.domain != 0, place == Place::Remote);
        assert_eq!(task.parents.len(), 2, "{place:?}");
    }
}

#[test]
fn the_error_of_a_child_whose_parent_fails_too_is_reported_in_simulated_runs() {
    for seed in 0..20 {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let hook_reports = reports.clone();
        let check = Check::simulated().on_report(move |diagnostic| {
            hook_reports.lock().unwrap().push(diagnostic.to_string());
        });
        let trial = check.trial(seed, async {
            let _child = Place::Remote.try_spawn(|| async { Err::<(), _>("of the child") });
            sleep(Duration::from_secs(1)).await;
            Err::<(), MainError>("of main".into())
        });
        assert_eq!(trial.outcome.unwrap_err().to_string(), "main failed: of main");
        let reports = reports.lock().unwrap();
        let [report] = &**reports else { panic!("{reports:?}") };
        assert!(report.contains("= cause: it failed: of the child"), "{report}");
    }
}

#[test]
fn every_way_to_lose_a_failure_is_a_finding() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        // A group is dropped with a failed child.
        let parent = try_spawn(async {
            let group = Orphans::new();
            Task::new().orphans(&group).try_spawn(async { Err::<(), _>("1") }).unwrap();
            yield_now().await;
            yield_now().await;
            Err::<(), _>(())
        });
        drop(parent.await);
        // A shield that no future awaits.
        drop(matou_runtime::try_shield(async { Err::<(), _>("2") }));
        // The loser of a race, if it has ended before.
        let children = ["3", "3"].map(|text| try_spawn(async move { Err::<(), _>(text) }));
        yield_now().await;
        yield_now().await;
        assert_eq!(await_first(children).await.unwrap_err().into_failure(), Some("3"));
        // The first of several children, if the wait is dropped before the others have ended.
        let first = try_spawn(async { Err::<(), _>("4") });
        yield_now().await;
        yield_now().await;
        let wait = await_first([first, try_spawn(pending())]);
        assert!(wait.now_or_never().is_none());
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["FailureUnseen"; 4]);
    for n in 1..=4 {
        let text = format!("= cause: it failed: {n}\n");
        let found = reports.texts().iter().filter(|report| report.contains(&text)).count();
        assert_eq!(found, 1, "{n} in {:#?}", reports.texts());
    }
}

#[test]
fn a_panic_and_an_error_without_text_are_described() {
    struct Opaque;
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        let parent = try_spawn(async {
            let _panics = spawn(async { panic!("of a child") });
            let _fails = try_spawn(async { Err::<(), _>(Opaque) });
            yield_now().await;
            yield_now().await;
            Err::<(), _>(())
        });
        drop(parent.await);
        Ok(())
    })
    .unwrap();
    let texts = reports.texts().join("\n");
    assert!(texts.contains("= cause: it panicked at runtime/tests/it/r10_findings.rs:"), "{texts}");
    assert!(texts.contains(": of a child\n"), "{texts}");
    assert!(texts.contains("::Opaque`\n"), "{texts}");
}

#[test]
fn an_outcome_that_is_dropped_on_another_thread_is_reported_by_domain_0() {
    let (builder, reports) = Reports::collected();
    let on_domain_0 = Arc::new(AtomicBool::new(false));
    let seen = on_domain_0.clone();
    let builder = builder.domains(1);
    run_with(builder, move || async move {
        let here = thread::current().id();
        let child = try_spawn(async { Err::<(), _>("on another thread") });
        yield_now().await;
        yield_now().await;
        thread::spawn(move || drop(child)).join().unwrap();
        seen.store(thread::current().id() == here, Ordering::SeqCst);
        yield_now().await;
        // The parent's end is abnormal, so that the drop was no forgetting.
        Err::<(), MainError>("on purpose".into())
    })
    .unwrap_err();
    assert!(on_domain_0.load(Ordering::SeqCst));
    let (task, causes) = reports.unseen();
    assert_eq!((task.domain, causes), (0, vec!["it failed: on another thread".to_owned()]));
}

#[test]
fn the_failure_of_main_is_kept_when_the_run_has_another_error() {
    // A violation: its report keeps the failure.
    let result: Result<(), RunError> = run_on(1, || async {
        // It goes on after main has failed.
        drop(shield(async { leak(spawn(pending::<()>())) }));
        Err("of main".into())
    });
    let causes: Vec<_> = report(result).further_causes().iter().map(ToString::to_string).collect();
    assert_eq!(causes, ["it failed: of main"]);
    // A signal handler that panics: the failure is a finding.
    let reports = Arc::new(Mutex::new(Vec::new()));
    let hook_reports = reports.clone();
    let check = Check::simulated().on_report(move |diagnostic: &Diagnostic| {
        hook_reports.lock().unwrap().push(diagnostic.to_string());
    });
    let mut both = 0;
    for seed in 0..100 {
        let trial: Trial<()> = check.trial(seed, async {
            let ended = Arc::new(AtomicBool::new(false));
            let end = ended.clone();
            signal::on(Signal::Terminate, move || {
                end.store(true, Ordering::SeqCst);
                async { panic!("of the handler") }
            })?;
            assert!(send_signal(Signal::Terminate));
            while !ended.load(Ordering::SeqCst) {
                sleep(Duration::from_micros(100)).await;
            }
            Err("of main".into())
        });
        let reports = std::mem::take(&mut *reports.lock().unwrap());
        match trial.outcome {
            Err(RunError::Panicked(panic)) => assert_eq!(panic.message(), "of the handler"),
            other => panic!("{other:?}"),
        }
        both += reports.len();
        assert!(reports.iter().all(|report| report.contains("it failed: of main")), "{reports:?}");
    }
    assert!(both > 0, "main never fails after the handler");
}

async fn spawn_and_leak() {
    leak(spawn(pending::<()>()));
}

#[test]
fn the_hook_is_called_after_the_poll_and_may_use_the_runtime() {
    let during_poll = Arc::new(AtomicBool::new(false));
    let calls = Counter::new();
    let (hook_flag, hook_calls, reported) = (during_poll.clone(), calls.clone(), calls.clone());
    let builder = Builder::new().domains(1).slow_poll(Duration::MAX);
    let builder = builder.on_report(move |_| {
        assert!(!hook_flag.load(Ordering::SeqCst));
        assert!(live_tasks() > 0);
        hook_calls.add();
        panic!("a hook that panics");
    });
    run_with(builder, move || async move {
        let child = spawn(async move {
            leak(spawn(pending::<()>()));
            during_poll.store(true, Ordering::SeqCst);
            let end = EndOfPoll(during_poll.clone());
            drop(end);
        });
        // Is polled directly after it.
        let next = spawn(async move { reported.get() });
        assert!(child.await.unwrap_err().is_violation());
        assert_eq!(next.await?, 1);
        let child = spawn(spawn_and_leak());
        assert!(child.await.unwrap_err().is_violation());
        Ok(())
    })
    .unwrap();
    assert_eq!(calls.get(), 2);
}

struct EndOfPoll(Arc<AtomicBool>);

impl Drop for EndOfPoll {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Standard error of a run with default settings, without what the test runner adds.
fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_hook_findings_are_printed_once_per_line_and_counted() {
    let Some(output) = child_output(this_test!()) else {
        let result: Result<(), RunError> = Builder::new().domains(2).run(async {
            for _ in 0..3 {
                drop(matou_runtime::try_shield(async { Err::<(), _>("often") }));
                yield_now().await;
            }
            drop(matou_runtime::try_shield(async { Err::<(), _>("once") }));
            let offender = spawn(spawn_and_leak());
            assert!(offender.await.unwrap_err().is_violation());
            Ok(())
        });
        return result.unwrap();
    };
    let text = printed(&output);
    assert_eq!(text.matches("warning[FailureUnseen]: task ").count(), 2, "{text}");
    assert_eq!(text.matches("it failed: often").count(), 1, "{text}");
    assert_eq!(text.matches("it failed: once").count(), 1, "{text}");
    assert_eq!(text.matches("error[StillHasChildren]: ").count(), 1, "{text}");
    let count = "warning[FailureUnseen]: 3 times in all\n  --> runtime/tests/it/r10_findings.rs:";
    assert_eq!(text.matches(count).count(), 1, "{text}");
}
