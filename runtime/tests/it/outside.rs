//! Goal: a `Runtime` is used by code that is no task: plain threads, other executors, tests.
//! Method: the outcomes at the handles. A domain is kept busy by a task that blocks on a channel,
//! so that the order of a submission and what follows is certain.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::test::check;
use matou_runtime::{
    Builder, JoinHandle, MainError, RunError, Runtime, RuntimeHandle, TaskError, Violations, call,
    run, sleep, spawn,
};

use crate::support::*;

/// A runtime of two domains, and what it reports.
fn runtime() -> (Runtime, Reports) {
    let (builder, reports) = Reports::collected();
    (builder.domains(2).start().expect("the runtime starts"), reports)
}

/// Occupies domain 0 with a poll that lasts until the sender is dropped. Returns when it has begun.
fn occupy(runtime: &Runtime) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let task = runtime.spawn(async move {
        begun.send(()).expect("the test waits");
        let _ = released.recv();
    });
    begins.recv().expect("the poll has begun");
    (release, task)
}

fn text<T, E: std::fmt::Display + 'static>(outcome: Result<T, TaskError<E>>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn several_threads_block_on_tasks_and_spawn() {
    within_deadline(|| {
        let (runtime, _) = runtime();
        let threads = (0..4_u64).map(|n| {
            let handle = runtime.handle().clone();
            thread::spawn(move || {
                let spawned: Vec<_> = (0..50).map(|m| handle.spawn(async move { m })).collect();
                let sum: u64 = spawned.into_iter().map(|task| task.join().unwrap()).sum();
                // Futures that are not `Send` are created inside; a task uses other domains.
                let local = async { spawn(async { *Rc::new(1) }).await.unwrap() };
                let called = async { call(|| async { 2 }).unwrap().await.unwrap() };
                sum + n + handle.block_on(local).unwrap() + handle.block_on(called).unwrap()
            })
        });
        let sums: u64 = threads.collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(sums, 4 * (1225 + 3) + 6);
        assert_eq!(
            runtime.block_on(async { 1 }).unwrap() + runtime.block_on(async { 2 }).unwrap(),
            3
        );
        runtime.shutdown().unwrap();
    });
}

#[test]
fn another_executor_awaits_a_handle() {
    within_deadline(|| {
        let (runtime, _) = runtime();
        let tasks = (0..20_u64).map(|n| {
            runtime.spawn(async move {
                sleep(Duration::from_micros(n)).await;
                n
            })
        });
        let all = futures::future::join_all(tasks.collect::<Vec<_>>());
        let sum: u64 = futures::executor::block_on(all).into_iter().map(Result::unwrap).sum();
        assert_eq!(sum, 190);
        // Another run awaits one, too.
        let task = runtime.spawn(async { 7 });
        let inside = run(async { Ok::<_, MainError>(task.await.unwrap()) });
        assert_eq!(inside.unwrap(), 7);
        // A future that awaits it may be dropped.
        let (release, _busy) = occupy(&runtime);
        let mut task = runtime.spawn(async { 8 });
        assert!(futures::FutureExt::now_or_never(&mut task).is_none());
        assert!(!task.is_finished());
        drop(release);
        assert_eq!(futures::executor::block_on(&mut task).unwrap(), 8);
        assert!(task.is_finished());
    });
}

#[test]
fn a_failure_and_a_panic_come_out_at_the_handle() {
    within_deadline(|| {
        let (runtime, reports) = runtime();
        let failed = runtime.try_spawn(async { Err::<(), _>("no disk") }).join().unwrap_err();
        assert!(failed.task().is_some_and(|task| task.spawned_at().file() == file!()));
        assert_eq!(failed.into_failure(), Some("no disk"));
        let panicked = runtime.block_on(async { panic!("broken") });
        assert!(text(panicked).ends_with("broken"));
        let violation = runtime.block_on(async { leak(spawn(pending::<()>())) });
        assert!(violation.unwrap_err().is_violation());
        assert_eq!(runtime.block_on(async { 7 }).unwrap(), 7);
        assert!(!reports.names().contains(&"FailureUnseen"));
        runtime.shutdown().unwrap();
    });
}

#[test]
fn a_dropped_handle_gives_the_task_up() {
    within_deadline(|| {
        let (runtime, reports) = runtime();
        let (held, dropped) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let task = runtime.spawn(async move {
            let _held = held;
            begun.send(()).unwrap();
            pending::<()>().await;
        });
        begins.recv().unwrap();
        drop(task);
        assert_eq!(dropped.recv(), Err(mpsc::RecvError));
        // A task that has not started is not polled.
        let (release, busy) = occupy(&runtime);
        let (polled, polls) = mpsc::channel();
        drop(runtime.spawn(async move { polled.send(()) }));
        let (polled, more_polls) = mpsc::channel();
        let cancelled = runtime.spawn(async move { polled.send(()) });
        cancelled.cancel();
        drop(release);
        busy.join().unwrap();
        assert!(
            text(cancelled.join())
                .starts_with("the task was cancelled by code outside any task at")
        );
        assert_eq!(polls.recv(), Err(mpsc::RecvError));
        assert_eq!(more_polls.recv(), Err(mpsc::RecvError));
        assert!(!reports.names().contains(&"FailureUnseen"));
        runtime.shutdown().unwrap();
    });
}

#[test]
fn a_failure_that_no_handle_receives_is_reported() {
    within_deadline(|| {
        let (runtime, reports) = runtime();
        let (release, busy) = occupy(&runtime);
        drop(release);
        busy.join().unwrap();
        let failed = runtime.try_spawn(async { Err::<(), _>("no disk") });
        while !failed.is_finished() {
            thread::yield_now();
        }
        drop(failed);
        runtime.shutdown().unwrap();
        assert_eq!(reports.unseen().1, ["it failed: no disk"]);
    });
}

#[test]
fn a_shutdown_cancels_and_finalizes_and_refuses_further_tasks() {
    within_deadline(|| {
        let (runtime, _) = runtime();
        let (sender, finalized) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let task = runtime.spawn(async move {
            let finalize = move |()| async move {
                sleep(Duration::from_millis(1)).await;
                sender.send("finalized").unwrap();
            };
            let _resource = Owned::with_async((), finalize);
            let _child = spawn(pending::<()>());
            begun.send(()).unwrap();
            pending::<()>().await;
        });
        begins.recv().unwrap();
        let handle = runtime.handle().clone();
        let line = line!() + 1;
        runtime.shutdown().unwrap();
        assert_eq!(finalized.try_recv(), Ok("finalized"));
        let expected = format!(
            "the task was cancelled with an ancestor that was cancelled because its runtime was \
             shut down at {}:{line}:17",
            file!(),
        );
        assert_eq!(text(task.join()), expected);
        let (held, dropped) = mpsc::channel::<()>();
        let refused = handle.spawn(async move { drop(held) });
        assert_eq!(dropped.recv(), Err(mpsc::RecvError));
        let expected = "the task was cancelled because its runtime was shut down";
        assert_eq!(text(refused.join()), expected);
    });
}

#[test]
fn a_shutdown_returns_the_error_of_the_run() {
    within_deadline(|| {
        let runtime = Builder::new().violations(Violations::FailRun).start().unwrap();
        let task = runtime.spawn(async { leak(spawn(pending::<()>())) });
        assert!(task.join().unwrap_err().is_violation());
        let error = runtime.shutdown().unwrap_err();
        assert_eq!(error.report().unwrap().violations()[0].name(), "StillHasChildren");
        let unstarted = Builder::new().domains(0).start().unwrap_err();
        assert!(matches!(unstarted, RunError::Setup(_)), "{unstarted}");
    });
}

#[test]
fn a_poll_that_does_not_return_does_not_hold_a_shutdown_up() {
    within_deadline(|| {
        for is_dropped in [false, true] {
            let builder = Builder::new().domains(1).grace(Duration::ZERO).on_report(|_| ());
            let runtime = builder.start().unwrap();
            let (release, task) = occupy(&runtime);
            if is_dropped {
                drop(runtime);
            } else {
                let error = runtime.shutdown().unwrap_err();
                assert!(matches!(error, RunError::Stuck { domain: 0, .. }), "{error}");
            }
            // The handle receives the outcome once the poll has returned.
            drop(release);
            task.join().unwrap();
        }
    });
}

/// Returns the text of the panic of `f`.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(f()))).unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().expect("a text").to_string(),
    }
}

/// Uses the runtime inside one of its own tasks.
async fn misuse(handle: RuntimeHandle) {
    assert!(panic_of(|| handle.block_on(async {})).starts_with("`block_on` blocks its thread"));
    let task = handle.spawn(async { 7 });
    assert!(panic_of(|| task.join()).starts_with("`JoinHandle::join` blocks its thread"));
    assert!(matches!(Runtime::new(), Err(RunError::Nested)));
    // A task may be awaited.
    assert_eq!(handle.spawn(async { 7 }).await.unwrap(), 7);
}

#[test]
fn misuse_inside_a_task_is_an_error() {
    within_deadline(|| {
        let (runtime, _) = runtime();
        runtime.block_on(misuse(runtime.handle().clone())).unwrap();
        let task = runtime.spawn(pending::<()>());
        let other = Runtime::new().unwrap();
        other
            .block_on(async { assert!(matches!(runtime.shutdown(), Err(RunError::Nested))) })
            .unwrap();
        // The shutdown was requested, though.
        assert!(task.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_runtime_that_its_own_task_drops_ends() {
    within_deadline(|| {
        let (runtime, _) = runtime();
        let handle = runtime.handle().clone();
        let task = handle.spawn(async move {
            drop(runtime);
            pending::<()>().await;
        });
        assert!(text(task.join()).contains("because its runtime was shut down at"));
    });
}

#[test]
fn a_simulated_run_cannot_use_a_runtime() {
    let (runtime, _) = runtime();
    let runtime = Arc::new(runtime);
    let refused = Arc::clone(&runtime);
    check(0..1, move || {
        let runtime = Arc::clone(&refused);
        async move {
            let text = panic_of(|| runtime.spawn(async {}));
            assert!(text.starts_with("a simulated run cannot use a `Runtime`"), "{text}");
            assert!(matches!(Runtime::new(), Err(RunError::Nested)));
            Ok::<_, MainError>(())
        }
    });
}

#[test]
fn the_panic_of_a_driver_and_of_a_start_hook_reach_the_caller() {
    within_deadline(|| {
        let start = || Builder::new().domains(1).on_start(|_| panic!("no core")).start();
        let payload = catch_unwind(AssertUnwindSafe(|| drop(start()))).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"no core"));
    });
}
