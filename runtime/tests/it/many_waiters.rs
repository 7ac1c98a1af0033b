//! Goal: no number of futures that wait uses the processor while nothing happens, and a wait that
//! is dropped leaves no waker behind (scenarios F1 and F3). The futures are those of the runtime.
//! Method: thousands of futures, each with a waker of its own, whose polls are counted.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use matou_runtime::test::{Check, check};
use matou_runtime::{MainError, Orphans, Task, cancelled, shield, spawn, yield_now};

use crate::support::{
    Latch, WakeCounter, fewer, io_pair, read_byte, run_on, wait_with_many, waiting,
};

const WAITERS: usize = fewer(10_000) as usize;

async fn futures_of_the_runtime() -> Result<(), MainError> {
    let latch = Latch::new();
    let is_idle = latch.clone();
    let server = spawn(async {
        shield(async move {
            // They are woken when there is a request.
            wait_with_many(WAITERS, || waiting(cancelled()), async {
                is_idle.open();
                cancelled().await;
            })
            .await;
        })
        .await
    });
    let children = Orphans::new();
    let child = Latch::new();
    Task::new().orphans(&children).spawn(child.clone())?;
    wait_with_many(WAITERS, || waiting(children.next()), async {}).await;
    child.open();
    assert!(children.next().await.is_some_and(|outcome| outcome.is_ok()));
    latch.await;
    drop(server.cancel().await);
    Ok(())
}

#[test]
fn f1_ten_thousand_futures_of_the_runtime_are_idle() {
    check(0..2, futures_of_the_runtime);
    Check::threaded().run(0..2, futures_of_the_runtime);
}

#[test]
fn f1_ten_thousand_polls_of_one_source_without_keys_are_idle() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        wait_with_many(WAITERS, || waiting(read_byte(io.clone())), async {}).await;
        peer.write_all(b"m")?;
        assert_eq!(read_byte(io.clone()).await?, b'm');
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn f3_a_dropped_wait_for_a_cancellation_or_a_child_leaves_no_waker_behind() {
    run_on(1, || async {
        let counter = WakeCounter::new();
        let waker = Waker::from(Arc::clone(&counter));
        let mut cx = Context::from_waker(&waker);
        assert!(pin!(cancelled()).poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&counter), 2);
        let children = Orphans::new();
        Task::new().orphans(&children).spawn(yield_now())?;
        assert!(pin!(children.next()).poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&counter), 2);
        assert!(children.next().await.is_some());
        Ok(())
    })
    .unwrap();
}
