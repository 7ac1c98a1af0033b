//! Goal: code of users that runs where it is least expected (wakers whose drop drops a promise,
//! payloads and handlers that do something when they are dropped) meets no borrow and no lock.
//! Method: each test was a hang, an abort or a lost outcome once.

use std::future::{Future, pending};
use std::panic::{catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::signal::{self, Signal};
use matou_runtime::{
    Builder, Forgotten, Orphans, Promise, RunError, Task, run, sleep, spawn, yield_now,
};

use crate::support::{Log, io_pair, read_byte, run_on};

/// A waker that does nothing but to own something.
struct Holds<T>(Mutex<Option<T>>);

impl<T: Send + 'static> Wake for Holds<T> {
    fn wake(self: Arc<Self>) {}
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending());
}

fn holding<T: Send + 'static>(value: T) -> Waker {
    Waker::from(Arc::new(Holds(Mutex::new(Some(value)))))
}

fn run_leniently(main: impl Future<Output = Result<(), RunError>> + 'static) {
    let main = async { main.await.map_err(|error| error.to_string()) };
    let result = Builder::new().domains(1).forgotten(Forgotten::Cancel).run(main);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn two_who_wait_for_the_same_collector_are_both_served() {
    run_on(1, || async {
        let orphans = Orphans::new();
        for steps in [1, 5] {
            Task::new().orphans(&orphans).spawn(async move {
                for _ in 0..steps {
                    yield_now().await;
                }
            })?;
        }
        let mut waiting = FuturesUnordered::from_iter([orphans.next(), orphans.next()]);
        while let Some(ended) = waiting.next().await {
            ended.expect("there are two children")?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_promise_cancelled_outside_the_run_is_as_if_dropped() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(2, || async move {
        let child_log = main_log.clone();
        let child = spawn(async move {
            let _body = child_log.on_drop("child");
            let grandchild_log = child_log.clone();
            let grandchild = spawn(async move {
                let _body = grandchild_log.on_drop("grandchild");
                pending::<()>().await
            });
            drop(grandchild.await);
        });
        yield_now().await;
        yield_now().await;
        let refused = std::thread::spawn(move || drop(child.cancel())).join();
        assert!(refused.is_err(), "it works only inside a run");
        // The word of the drop comes by the inbox, which is read when the domain has turned.
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
    // The unwinding dropped it: that is no fault, and the child was ended like any other.
    result.unwrap();
    log.assert_is(&["grandchild", "child"]);
}

#[test]
fn who_waits_for_a_descriptor_that_is_taken_is_told() {
    run_on(1, || async {
        let (io, _peer) = io_pair();
        let reader = spawn(read_byte(Arc::clone(&io)));
        yield_now().await;
        assert!(io.take_fd().is_some());
        let error = reader.await?.expect_err("there is no descriptor");
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_descriptor_is_shown_in_the_middle_of_its_own_operation() {
    let (io, _peer) = io_pair();
    let shown = io.with(|_| Ok(format!("{io:?}"))).unwrap();
    assert_eq!(shown, "IoSource { busy }");
}

#[test]
fn a_waker_may_drop_a_promise_or_a_collector_when_it_is_dropped() {
    run_leniently(async {
        let held = spawn(pending::<()>());
        let mut promise = spawn(pending::<()>());
        poll_with(&mut promise, &holding(held));
        drop(promise);

        let orphans = Orphans::<()>::new();
        Task::new().orphans(&orphans).spawn(pending()).expect("there is no limit");
        let inner = Orphans::<()>::new();
        Task::new().orphans(&inner).spawn(pending()).expect("there is no limit");
        poll_with(&mut orphans.next(), &holding(inner));
        drop(orphans);
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
}

/// Panics when it is dropped, or with a payload that does.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the bomb is dropped");
        }
    }
}

struct PanicsWithABomb;

impl Wake for PanicsWithABomb {
    fn wake(self: Arc<Self>) {
        panic_any(Bomb);
    }
}

impl Drop for PanicsWithABomb {
    fn drop(&mut self) {
        panic_any(Bomb);
    }
}

#[test]
fn what_panics_when_it_is_dropped_does_not_stop_the_scheduler() {
    run_leniently(async {
        // A waker whose drop panics, which the entry of an abandoned child holds last.
        let mut promise = spawn(pending::<()>());
        poll_with(&mut promise, &holding(Bomb));
        drop(promise);
        // An output whose drop panics with a payload whose drop panics, and nobody takes it.
        let child: Promise<PanicsWithABomb> = spawn(async { PanicsWithABomb });
        yield_now().await;
        let cancelled = catch_unwind(std::panic::AssertUnwindSafe(|| drop(child.cancel())));
        std::mem::forget(cancelled);
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
}

#[test]
fn a_run_may_clean_up_in_a_drop_that_belongs_to_a_panic() {
    struct Cleans(Arc<Mutex<Option<i32>>>);
    impl Drop for Cleans {
        fn drop(&mut self) {
            let cleaned: Result<i32, RunError> = run(async { Ok(7) });
            *self.0.lock().unwrap() = cleaned.ok();
        }
    }
    let cleaned = Arc::new(Mutex::new(None));
    let cleans = Cleans(Arc::clone(&cleaned));
    let panicked = catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _cleans = cleans;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(*cleaned.lock().unwrap(), Some(7));
}

#[test]
fn a_handler_that_is_replaced_may_ask_for_signals_when_it_is_dropped() {
    struct AsksAgain;
    impl Drop for AsksAgain {
        fn drop(&mut self) {
            drop(signal::stream(Signal::Terminate));
        }
    }
    run_on(1, || async {
        let asks = AsksAgain;
        signal::on(Signal::Terminate, move || {
            let _asks = &asks;
            async {}
        })?;
        signal::on(Signal::Terminate, || async {})?;
        Ok(())
    })
    .unwrap();
}
