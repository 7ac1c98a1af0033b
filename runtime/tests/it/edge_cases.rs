//! Goal: user code that the runtime runs at unusual moments (a waker whose drop drops a promise,
//! payloads and handlers whose drop calls the runtime) finds nothing borrowed and no lock held.
//! Method: each test failed once, with a hang, an abort or a lost outcome.

use std::future::{Future, pending};
use std::panic::{catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::signal::{self, Signal};
use matou_runtime::{
    Forgotten, MainError, Orphans, Promise, RunError, Task, run, sleep, spawn, yield_now,
};

use crate::support::{Log, io_pair, read_byte, run_on, run_with, strict};

/// A waker that does nothing but own a value.
struct OwningWaker<T>(Mutex<Option<T>>);

impl<T: Send + 'static> Wake for OwningWaker<T> {
    fn wake(self: Arc<Self>) {}
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending());
}

fn waker_that_owns<T: Send + 'static>(value: T) -> Waker {
    Waker::from(Arc::new(OwningWaker(Mutex::new(Some(value)))))
}

/// Runs `main` in a run that does not report dropped promises.
fn run_without_reports<F>(main: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    run_with(strict().domains(1).forgotten(Forgotten::Cancel), main).unwrap();
}

#[test]
fn two_futures_that_wait_for_the_same_group_are_both_woken() {
    run_on(1, || async {
        let orphans = Orphans::new();
        for steps in [1, 5] {
            Task::new().orphans(&orphans).spawn(async move {
                for _ in 0..steps {
                    yield_now().await;
                }
            })?;
        }
        let mut waiters = FuturesUnordered::from_iter([orphans.next(), orphans.next()]);
        while let Some(ended) = waiters.next().await {
            ended.expect("there are two children")?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn cancelling_a_promise_outside_the_run_panics_and_drops_it() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(2, || async move {
        let child_log = main_log.clone();
        let child = spawn(async move {
            let _guard = child_log.on_drop("child");
            let grandchild_log = child_log.clone();
            let grandchild = spawn(async move {
                let _guard = grandchild_log.on_drop("grandchild");
                pending::<()>().await
            });
            drop(grandchild.await);
        });
        yield_now().await;
        yield_now().await;
        let refused = std::thread::spawn(move || drop(child.cancel())).join();
        assert!(refused.is_err(), "it panics outside a run");
        // The drop arrives as a message, which is received in a later tick.
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
    // The unwinding dropped the promise: that is no violation, and the child was cancelled.
    result.unwrap();
    log.assert_is(&["grandchild", "child"]);
}

#[test]
fn a_reader_of_a_descriptor_that_is_taken_gets_an_error() {
    run_on(1, || async {
        let (io, _peer) = io_pair();
        let reader = spawn(read_byte(io.clone()));
        yield_now().await;
        assert!(io.take().is_some());
        let error = reader.await?.expect_err("the descriptor is taken");
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_io_source_can_be_printed_during_its_own_operation() {
    let (io, _peer) = io_pair();
    let shown = io.with(|_| Ok(format!("{io:?}"))).unwrap();
    assert_eq!(shown, "IoSource { busy }");
}

#[test]
fn the_drop_of_a_waker_may_drop_a_promise_or_a_group() {
    run_without_reports(|| async {
        let held = spawn(pending::<()>());
        let mut promise = spawn(pending::<()>());
        poll_with(&mut promise, &waker_that_owns(held));
        drop(promise);

        let orphans = Orphans::<()>::new();
        Task::new().orphans(&orphans).spawn(pending()).expect("there is no limit");
        let inner = Orphans::<()>::new();
        Task::new().orphans(&inner).spawn(pending()).expect("there is no limit");
        poll_with(&mut orphans.next(), &waker_that_owns(inner));
        drop(orphans);
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
}

/// Panics when it is dropped, unless its thread panics already.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a drop that panics");
        }
    }
}

struct PanicsTwice;

impl Wake for PanicsTwice {
    fn wake(self: Arc<Self>) {
        panic_any(PanicsOnDrop);
    }
}

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        panic_any(PanicsOnDrop);
    }
}

#[test]
fn a_drop_that_panics_does_not_stop_the_scheduler() {
    run_without_reports(|| async {
        // A waker whose drop panics, which the node of an abandoned child holds last.
        let mut promise = spawn(pending::<()>());
        poll_with(&mut promise, &waker_that_owns(PanicsOnDrop));
        drop(promise);
        // An outcome that no task takes. Its drop panics with a payload whose drop panics too.
        let child: Promise<PanicsTwice> = spawn(async { PanicsTwice });
        yield_now().await;
        let cancelled = catch_unwind(std::panic::AssertUnwindSafe(|| drop(child.cancel())));
        std::mem::forget(cancelled);
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
}

#[test]
fn a_drop_may_start_a_run_while_its_thread_panics() {
    struct RunsOnDrop(Arc<Mutex<Option<i32>>>);
    impl Drop for RunsOnDrop {
        fn drop(&mut self) {
            let value: Result<i32, RunError> = run(async { Ok(7) });
            *self.0.lock().unwrap() = value.ok();
        }
    }
    let value = Arc::new(Mutex::new(None));
    let guard = RunsOnDrop(Arc::clone(&value));
    let panicked = catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _guard = guard;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(*value.lock().unwrap(), Some(7));
}

#[test]
fn the_drop_of_a_replaced_handler_may_request_signals() {
    struct RequestsSignals;
    impl Drop for RequestsSignals {
        fn drop(&mut self) {
            drop(signal::stream(Signal::Terminate));
        }
    }
    run_on(1, || async {
        let guard = RequestsSignals;
        signal::on(Signal::Terminate, move || {
            let _guard = &guard;
            async {}
        })?;
        signal::on(Signal::Terminate, || async {})?;
        Ok(())
    })
    .unwrap();
}
