//! R12: a signal handler is a task on domain 0, a child of the root, and all rules apply to it.
//!
//! A signal is sent to the whole process, so each test runs in a child process and checks what that
//! process did.

use std::future::{Future, pending};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use matou_runtime::signal::{self, Signal};
use matou_runtime::{MainError, Promise, RunError, Task, Violation, spawn, yield_now};
use rustix::process::Signal as Number;

use crate::support::*;

/// Runs a main task that waits forever, with a SIGTERM that `handler` handles. Also returns the
/// line that installs the handler.
#[track_caller]
fn handled_by<H, F>(domains: usize, handler: H) -> (Result<(), RunError>, u32)
where
    H: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let line = line!() + 2;
    let result = run_on(domains, move || async move {
        signal::on(Signal::Terminate, handler)?;
        raise(Number::TERM);
        pending().await
    });
    (result, line)
}

#[test]
fn a_handler_is_a_task_on_domain_0_and_a_child_of_the_root() {
    rerun_in_child_process!();
    // The handler violates a rule, and the report describes its task.
    let (result, line) = handled_by(3, || async {
        let thread = std::thread::current();
        assert!(!thread.name().unwrap_or_default().starts_with("matou-"));
        drop(spawn(pending::<()>()));
    });
    match violation(result) {
        Violation::StillHasChildren { task, children } => {
            assert_eq!(task.name.as_deref(), Some("signal handler"));
            assert_eq!((task.domain, task.spawned_at.line()), (0, line));
            assert_eq!(task.parents.len(), 1);
            assert_eq!(task.parents[0].name.as_deref(), Some("main"));
            assert_eq!(children.len(), 1);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_handler_that_leaks_a_resource_violates_r7() {
    rerun_in_child_process!();
    let log = Log::new();
    let handler_log = log.clone();
    let (result, _) = handled_by(1, move || {
        let log = handler_log.clone();
        async move { leak(log.resource("resource")) }
    });
    assert_eq!(violation(result).name(), "ResourceLeaked");
    log.assert_is(&["resource"]);
}

#[test]
fn a_handler_that_awaits_the_child_of_another_task_violates_r2() {
    rerun_in_child_process!();
    let result = run_on(1, || async {
        let stolen: Arc<std::sync::Mutex<Option<Promise<()>>>> = Arc::default();
        *stolen.lock().expect("not poisoned") = Some(spawn(pending()));
        signal::on(Signal::Terminate, move || {
            let promise = stolen.lock().expect("not poisoned").take();
            async move { drop(promise.expect("it is there").await) }
        })?;
        raise(Number::TERM);
        pending::<()>().await;
        Ok(())
    });
    let violation = violation(result);
    assert_eq!(violation.name(), "NotAChild");
    assert_eq!(violation.task().name.as_deref(), Some("signal handler"));
}

#[test]
fn a_handler_that_panics_fails_the_run() {
    rerun_in_child_process!();
    let log = Log::new();
    let handler_log = log.clone();
    let (result, _) = handled_by(1, move || {
        let log = handler_log.clone();
        async move {
            leak(log.slow_resource("resource", 20));
            let _child = spawn(pending::<()>());
            panic!("on purpose");
        }
    });
    match result {
        Err(RunError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
        other => panic!("{other:?}"),
    }
    log.assert_is(&["resource"]);
}

#[test]
fn a_handler_may_await_children_on_other_domains() {
    rerun_in_child_process!();
    run_on(3, || async {
        let done = Counter::new();
        let seen = done.clone();
        signal::on(Signal::Interrupt, move || {
            let seen = seen.clone();
            async move {
                let child = Task::new().call(|| async { 7 }).expect("there are other domains");
                assert_eq!(child.await.expect("it does not fail"), 7);
                seen.add();
            }
        })?;
        raise(Number::INT);
        done.reaches(1).await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_handler_is_cancelled_and_finalized_when_the_root_ends() {
    rerun_in_child_process!();
    for fails in [false, true] {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(3, move || async move {
            let begun = Counter::new();
            let (handler_log, handler_begun) = (main_log.clone(), begun.clone());
            signal::on(Signal::Terminate, move || {
                let (log, begun) = (handler_log.clone(), handler_begun.clone());
                async move {
                    let _guard = log.on_drop("guard of the handler");
                    leak(log.slow_resource("resource of the handler", 30));
                    let child_log = log.clone();
                    let child = Task::new().call(move || async move {
                        leak(child_log.slow_resource("resource of its child", 30));
                        begun.add();
                        pending::<()>().await;
                    });
                    drop(child.expect("there are other domains").await);
                }
            })?;
            raise(Number::TERM);
            begun.reaches(1).await;
            if fails { Err::<(), MainError>("main fails".into()) } else { Ok(()) }
        });
        log.push("over");
        assert_eq!(result.is_err(), fails, "{result:?}");
        let order =
            ["resource of its child", "guard of the handler", "resource of the handler", "over"];
        let places: Vec<usize> = order.iter().map(|entry| log.position(entry)).collect();
        assert!(places.is_sorted(), "{:?}", log.entries());
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for second in [Number::TERM, Number::INT] {
        let this = this_test!();
        let variables = [(SECOND, second.as_raw().to_string())];
        let Some(output) = child_output_with(this, &variables) else {
            let second = Number::from_named_raw(second_signal()).expect("a signal");
            let result: Result<(), RunError> = run_on(1, move || async move {
                let handler = move || async move {
                    eprintln!("shutting down");
                    raise(second);
                    pending::<()>().await;
                };
                signal::on(Signal::Terminate, handler)?;
                signal::on(Signal::Interrupt, handler)?;
                raise(Number::TERM);
                pending().await
            });
            panic!("the process outlives the second signal: {result:?}");
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(second.as_raw()), "{stderr}");
        assert_eq!(stderr.matches("shutting down").count(), 1, "{stderr}");
    }
}

const SECOND: &str = "MATOU_TEST_SECOND_SIGNAL";

fn second_signal() -> i32 {
    let number = std::env::var(SECOND).expect("the parent sets it");
    number.parse().expect("a number")
}

#[test]
fn the_default_behaviour_is_restored_after_a_run() {
    let Some(output) = child_output(this_test!()) else {
        let handled = Counter::new();
        let seen = handled.clone();
        run_on(1, move || async move {
            count_signals(Signal::Terminate, &seen)?;
            raise(Number::TERM);
            seen.reaches(1).await;
            Ok(())
        })
        .unwrap();
        eprintln!("the run is over, handled {}", handled.get());
        raise(Number::TERM);
        // The thread that watches for signals ends the process.
        loop {
            std::thread::park();
        }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the run is over, handled 1"), "{stderr}");
    assert_eq!(output.status.signal(), Some(Number::TERM.as_raw()), "{stderr}");
}

#[test]
fn a_signal_that_the_run_does_not_handle_has_its_default_behaviour() {
    let Some(output) = child_output(this_test!()) else {
        let result: Result<(), RunError> = run_on(1, || async {
            signal::on(Signal::Interrupt, || async {})?;
            raise(Number::TERM);
            pending().await
        });
        panic!("the process outlives the signal: {result:?}");
    };
    assert_eq!(output.status.signal(), Some(Number::TERM.as_raw()));
}

#[test]
fn the_next_run_in_the_same_process_handles_signals_again() {
    rerun_in_child_process!();
    for round in 1..=3 {
        let result = run_on(2, move || async move {
            let handled = Counter::new();
            count_signals(Signal::Terminate, &handled)?;
            raise(Number::TERM);
            handled.reaches(1).await;
            for _ in 0..10 {
                yield_now().await;
            }
            Ok(handled.get())
        });
        assert_eq!(result.expect("no violation"), 1, "round {round}");
    }
}

#[test]
fn a_stream_receives_every_signal_and_the_process_lives_on() {
    rerun_in_child_process!();
    run_on(1, || async {
        let mut signals = signal::stream(Signal::Interrupt)?;
        for _ in 0..5 {
            raise(Number::INT);
            signals.next().await;
        }
        Ok(())
    })
    .unwrap();
}
