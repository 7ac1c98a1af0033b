//! Cooperation of tasks: yielding, and the budget of leaf operations.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Yields to the other ready tasks of the domain, including those that become ready when the domain
/// next looks for events of the system.
///
/// # Cancel safety
///
/// The future holds nothing that could be lost.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use matou_runtime::{RunError, run, spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let ran = Rc::new(Cell::new(false));
///     let child = spawn({ let ran = ran.clone(); async move { ran.set(true) } });
///     assert!(!ran.get());
///     yield_now().await;
///     assert!(ran.get());
///     child.await?;
///     Ok(())
/// })
/// # }
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Consumes a part of the current task's budget, or makes the task yield when the budget is used
/// up.
///
/// Leaf futures of other crates call it before an operation that may be ready again and again, so
/// that a task which never has to wait does not starve other tasks. A task has a budget of 128
/// operations in each poll. `Pending` means that the leaf future must return `Pending`, too; the
/// task is woken already. Outside a run it is always ready.
///
/// # Examples
///
/// ```
/// use std::future::poll_fn;
/// use std::task::{Poll, ready};
/// use matou_runtime::{RunError, poll_proceed, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     for _ in 0..1000 {
///         poll_fn(|cx| {
///             ready!(poll_proceed(cx));
///             Poll::Ready(()) // an operation that never blocks
///         })
///         .await;
///     }
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "coop")]
#[doc(alias = "spend_budget")]
pub fn poll_proceed(cx: &mut Context<'_>) -> Poll<()> {
    matou_hooks::poll_budget(cx)
}
