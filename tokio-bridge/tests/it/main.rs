//! Tests with tasks of tokio itself.

use std::future::pending;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use matou_runtime::test::check;
use matou_runtime::{
    Builder, MainError, TaskError, call, current_domain, live_tasks, run, sleep, spawn, try_spawn,
};
use matou_tokio::{CallError, Tokio};

type TestResult = Result<(), MainError>;

fn run_test(body: impl Future<Output = TestResult> + 'static) {
    run(body).unwrap();
}

/// Sets a flag some time after it is dropped by an abort, to show that it was waited for.
struct SlowDrop(Arc<AtomicBool>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_future_that_is_entered_finds_the_runtime_and_stays_on_its_domain() {
    run_test(async {
        let tokio = Tokio::start()?;
        let domain = tokio
            .enter(async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let answer = tokio::spawn(async { 7 }).await;
                assert_eq!(answer.ok(), Some(7));
                current_domain()
            })
            .await;
        assert_eq!(domain, Some(0));
        Ok(())
    });
}

/// A sleep of tokio removes its timer when it is dropped, and that needs the runtime.
#[test]
fn a_future_that_is_entered_is_dropped_in_the_context() {
    struct NeedsContext;
    impl Drop for NeedsContext {
        fn drop(&mut self) {
            let is_inside = tokio::runtime::Handle::try_current().is_ok();
            CONTEXTS.fetch_add(usize::from(is_inside), Ordering::SeqCst);
        }
    }
    static CONTEXTS: AtomicUsize = AtomicUsize::new(0);
    run_test(async {
        let tokio = Tokio::start()?;
        let handle = tokio.handle();
        let task = spawn(async move {
            let guard = NeedsContext;
            handle
                .enter(async move {
                    let _guard = guard;
                    pending::<()>().await;
                })
                .await;
        });
        sleep(Duration::from_millis(1)).await;
        task.cancel().await;
        drop(tokio.enter(async {}));
        assert_eq!(CONTEXTS.load(Ordering::SeqCst), 1);
        Ok(())
    });
}

#[test]
fn calls_from_all_domains_run_on_the_thread_of_tokio() {
    let result: Result<(), _> = Builder::new().domains(3).run(async {
        let tokio = Tokio::start()?;
        let calls: Vec<_> = (0..30_u64)
            .map(|number| {
                let handle = tokio.handle();
                call(move || async move {
                    let double = handle.spawn(async move {
                        tokio::task::yield_now().await;
                        assert_eq!(std::thread::current().name(), Some("matou-tokio"));
                        2 * number
                    });
                    double.await.unwrap()
                })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call?.await?, 2 * number as u64);
        }
        Ok::<_, MainError>(())
    });
    result.unwrap();
}

#[test]
fn a_cancelled_call_ends_after_the_task_of_tokio() {
    run_test(async {
        let tokio = Tokio::start()?;
        let (started, dropped) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (start, slow) = (Arc::clone(&started), SlowDrop(Arc::clone(&dropped)));
        let call = tokio.spawn(async move {
            let _slow = slow;
            start.store(true, Ordering::SeqCst);
            pending::<()>().await;
        });
        while !started.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(call.cancel().await.is_none());
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_panic_is_the_error_of_the_call_and_ends_nothing_else() {
    run_test(async {
        let tokio = Tokio::start()?;
        let error = tokio.spawn(async { panic!("hiss") }).await.unwrap_err();
        let TaskError::Failed { error, .. } = error else { panic!("{error}") };
        assert_eq!(error, CallError::Panicked { message: "hiss".into() });
        assert_eq!(tokio.spawn(async { 7 }).await?, 7);
        Ok(())
    });
}

#[test]
fn a_shutdown_counts_what_it_drops_and_fails_calls() {
    run_test(async {
        let tokio = Tokio::start()?;
        let call = tokio.spawn(pending::<()>());
        tokio.enter(async { drop(tokio::spawn(pending::<()>())) }).await;
        sleep(Duration::from_millis(5)).await;
        let handle = tokio.handle();
        let end = tokio.shutdown().await;
        assert_eq!((end.dropped_tasks, end.in_time), (2, true));
        let error = call.await.unwrap_err();
        assert!(error.to_string().contains("shut down"), "{error}");
        let late = handle.spawn(async { 7 }).await.unwrap_err();
        assert!(late.to_string().contains("shut down"), "{late}");
        Ok(())
    });
}

/// Without `shutdown`, the end of the task waits for the thread.
#[test]
fn the_runtime_ends_with_the_task_that_has_started_it() {
    run_test(async {
        let dropped = Arc::<AtomicBool>::default();
        let slow = SlowDrop(Arc::clone(&dropped));
        let child = try_spawn(async move {
            let tokio = Tokio::start()?;
            let task = async move {
                let _slow = slow;
                pending::<()>().await;
            };
            tokio.enter(async { drop(tokio::spawn(task)) }).await;
            Ok::<_, MainError>(())
        });
        child.await?;
        assert!(dropped.load(Ordering::SeqCst));
        Ok(())
    });
}

#[test]
fn what_does_not_end_in_time_is_left_behind() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let grace = Duration::from_millis(100);
    let result: Result<(), _> = Builder::new().grace(grace).run(async move {
        let tokio = Tokio::start()?;
        let block = || tokio::task::spawn_blocking(move || blocked.recv().is_ok());
        tokio.enter(async move { drop(block()) }).await;
        sleep(Duration::from_millis(5)).await;
        assert!(!tokio.shutdown().await.in_time);
        Ok::<_, MainError>(())
    });
    result.unwrap();
    drop(release);
}

#[test]
fn a_task_that_blocks_the_thread_does_not_hold_up_the_shutdown() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let grace = Duration::from_millis(100);
    let result: Result<(), _> = Builder::new().grace(grace).on_report(|_| {}).run(async move {
        let tokio = Tokio::start()?;
        let block = async move { blocked.recv().is_ok() };
        tokio.enter(async move { drop(tokio::spawn(block)) }).await;
        sleep(Duration::from_millis(5)).await;
        assert!(!tokio.shutdown().await.in_time);
        // The thread goes on, and its end is the end of the finalizer.
        drop(release);
        Ok::<_, MainError>(())
    });
    result.unwrap();
}

#[test]
fn a_simulated_run_refuses_it() {
    check(0..2, || async {
        let error = Tokio::start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        Ok::<_, MainError>(())
    });
}
