//! R1: a leaked handle of a living child is a violation in every mode, and a handle that was
//! dropped on another thread is not leaked.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use matou_runtime::{Builder, Forgotten, RunError, TaskError, sleep, spawn, yield_now};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn a_leaked_handle_of_a_living_child_is_a_violation_in_every_mode() {
    for forgotten in [Forgotten::Report, Forgotten::Strict, Forgotten::Cancel] {
        let runs = scenario(|place, _| async move {
            leak(place.spawn(pending::<()>));
            Ok(())
        });
        let runs = match forgotten {
            Forgotten::Report => runs,
            Forgotten::Strict => runs.settings(|builder| builder.forgotten(Forgotten::Strict)),
            _ => runs.settings(|builder| builder.forgotten(Forgotten::Cancel)),
        };
        for run in runs.runs() {
            let error = run.result.expect_err("the handle was leaked");
            assert!(matches!(error, RunError::Violated(_)), "{forgotten:?}: {error}");
        }
    }
}

#[test]
fn a_leaked_handle_ends_its_own_task_only() {
    let builder = Builder::new().domains(1).on_report(|_| ());
    let result = run_with(builder, || async {
        let offender = spawn(async { leak(spawn(pending::<()>())) });
        let bystander = spawn(async {
            sleep(SHORT).await;
            "goes on"
        });
        assert!(matches!(offender.await, Err(TaskError::Violation(_))));
        assert_eq!(bystander.await?, "goes on");
        Ok(())
    });
    result.unwrap();
}

/// The handle is dropped before the task returns, but the message about it is not handled yet.
#[test]
fn f04_handles_that_were_dropped_on_another_thread_before_the_end_are_not_leaked() {
    for forgotten in [Forgotten::Report, Forgotten::Cancel] {
        let builder = Builder::new().domains(1).forgotten(forgotten);
        let result = run_with(builder, || async {
            for _ in 0..20 {
                let task = spawn(async {
                    let shielded = matou_runtime::shield(async {});
                    let child = spawn(async {});
                    let elsewhere = std::thread::spawn(move || drop((shielded, child)));
                    elsewhere.join().expect("no panic");
                });
                task.await?;
            }
            let child = spawn(async {});
            std::thread::spawn(move || drop(child)).join().expect("no panic");
            yield_now().await;
            Ok(())
        });
        result.unwrap();
    }
}

#[test]
fn f04_a_leaked_handle_is_found_in_a_domain_that_is_flooded_with_messages() {
    let stop = Counter::new();
    let flood = stop.clone();
    let builder = Builder::new().domains(1).on_report(|_| ());
    let result = run_with(builder, move || async move {
        let latch = Latch::new();
        let mut waits = pin!(latch.clone());
        assert!(futures::poll!(waits.as_mut()).is_pending());
        let waker = latch.waker().expect("it was polled");
        let thread = std::thread::spawn(move || {
            while flood.get() == 0 {
                waker.wake_by_ref();
            }
        });
        let offender = spawn(async { leak(spawn(pending::<()>())) });
        let outcome = offender.await;
        stop.add();
        thread.join().expect("no panic");
        assert!(matches!(outcome, Err(TaskError::Violation(_))), "{outcome:?}");
        Ok(())
    });
    result.unwrap();
}
