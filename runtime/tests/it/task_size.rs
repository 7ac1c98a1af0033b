//! Goal: large futures and deep chains of tasks run on a small stack (scenarios T18 and T19).
//! Method: domain 0 is a thread with a stack of 256 KiB.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use matou_runtime::{Builder, Promise, RunError, call, spawn, yield_now};

use crate::support::{Counter, CountsDrop, Latch, fewer, monitored, within_deadline_on_stack};

const MIB: usize = 1 << 20;
const SMALL_STACK: usize = 256 << 10;

/// A future of one mebibyte whose outcome has the same size.
struct Large {
    body: [u8; MIB],
    outcome: Option<Box<[u8; MIB]>>,
}

impl Future for Large {
    type Output = Box<[u8; MIB]>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Box<[u8; MIB]>> {
        if self.body[0] == 0 {
            self.body[0] = 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.outcome.take().expect("polled after completion"))
    }
}

impl Large {
    fn boxed() -> Pin<Box<Large>> {
        let outcome = Some(Box::new([7; MIB]));
        Box::pin(Large { body: [0; MIB], outcome })
    }
}

/// `spawn` and `call` take futures and outcomes by value, so the caller boxes large ones. The
/// runtime does not move them back onto the stack.
#[test]
fn t18_a_boxed_future_and_outcome_of_a_mebibyte_need_little_stack() {
    // Creating them needs a large stack; running them must not.
    let large = with_a_large_stack(|| [Large::boxed(), Large::boxed()]);
    within_deadline_on_stack(SMALL_STACK, move || {
        let result: Result<(), RunError> = Builder::new().domains(2).run(async move {
            let [here, away] = large;
            let outcome = spawn(here).await?;
            assert_eq!(outcome.len(), MIB);
            let echoed = call(move || async move { (away.await, outcome) })?.await?;
            assert_eq!((echoed.0[MIB - 1], echoed.1[MIB - 1]), (7, 7));
            Ok(())
        });
        result.unwrap();
    });
}

/// Calls `make` on a thread with a large stack.
fn with_a_large_stack<R: Send + 'static>(make: impl FnOnce() -> R + Send + 'static) -> R {
    within_deadline_on_stack(64 * MIB, make)
}

#[test]
fn t19_a_chain_of_a_hundred_thousand_awaits_completes_on_a_small_stack() {
    const DEPTH: usize = fewer(100_000) as usize;
    let deepest = Counter::new();
    let seen = deepest.clone();
    within_deadline_on_stack(SMALL_STACK, move || {
        let builder = Builder::new().domains(1);
        let result: Result<usize, RunError> =
            builder.run(async move { Ok(nested(DEPTH, seen).await?) });
        assert_eq!(result.unwrap(), DEPTH);
    });
    assert_eq!(deepest.get(), 1);
}

/// A task that awaits a task that awaits a task, `depth` of them. Returns their number.
fn nested(depth: usize, deepest: Counter) -> Promise<usize> {
    spawn(async move {
        if depth == 1 {
            deepest.add();
            return 1;
        }
        nested(depth - 1, deepest).await.expect("no task fails") + 1
    })
}

#[test]
fn t19_a_chain_of_a_hundred_thousand_awaits_is_cancelled_on_a_small_stack() {
    const DEPTH: usize = fewer(100_000) as usize;
    let (builder, monitor) = monitored();
    let deepest = Latch::new();
    let drops = Counter::new();
    let counted = drops.clone();
    within_deadline_on_stack(SMALL_STACK, move || {
        let result: Result<(), RunError> = builder.domains(1).run(async move {
            let chain = endless_nested(DEPTH, deepest.clone(), counted);
            while deepest.waker().is_none() {
                yield_now().await;
            }
            assert!(chain.cancel().await.is_none());
            Ok(())
        });
        result.unwrap();
    });
    assert_eq!(drops.get(), DEPTH);
    monitor.assert_freed();
}

fn endless_nested(depth: usize, deepest: Latch, drops: Counter) -> Promise<()> {
    spawn(async move {
        let _counted = CountsDrop(drops.clone());
        if depth == 1 {
            deepest.await;
        } else {
            endless_nested(depth - 1, deepest, drops).await.ok();
        }
    })
}
