use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::domain::Domain;

/// Lets the other ready tasks of the domain run first, also those that the next look at the
/// system's events makes ready.
///
/// # Cancel safety
///
/// Nothing is lost.
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

/// Takes one success off the current task's budget, or asks it to yield when none is left.
///
/// For leaf futures of other crates: call it before an operation that may be ready again and again,
/// so that a task which never has to wait still lets others run. A task has 128 successes per poll.
/// Outside a run it never asks.
///
/// # Examples
///
/// ```
/// use std::future::poll_fn;
/// use std::task::{Poll, ready};
/// use matou_runtime::{RunError, run, poll_proceed};
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
pub fn poll_proceed(cx: &mut Context<'_>) -> Poll<()> {
    Domain::try_with(|domain| domain.spend_budget(cx)).unwrap_or(Poll::Ready(()))
}
