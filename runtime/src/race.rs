use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::domain::Domain;

/// Polls two futures in the current task until one of them completes, and drops the other one.
///
/// Dropping the loser cancels the promises that it holds. This is no violation; the task does not
/// complete before those children have completed. The run's seed decides which future is polled
/// first, and so which one wins if both are ready. To race children, use
/// [`await_first`](crate::await_first), which also waits until the losers have completed.
///
/// # Cancel safety
///
/// As cancel safe as both futures.
///
/// # Panics
///
/// The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, race, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     assert_eq!(race(pending(), async { 7 }).await, 7);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select")]
#[doc(alias = "or")]
#[track_caller]
pub fn race<A, B>(left: A, right: B) -> Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    Race { left: Some(left), right: Some(right), location: Location::caller() }
}

pin_project! {
    /// The future of [`race`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Race<A, B> {
        // Both are None after one of them has completed.
        #[pin]
        left: Option<A>,
        #[pin]
        right: Option<B>,
        location: &'static Location<'static>,
    }
}

impl<A, B> Future for Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        let mut this = self.project();
        assert!(this.left.is_some(), "`Race` is polled after it was ready");
        let left_first = Domain::try_with(|domain| domain.random().below(2) == 0).unwrap_or(true);
        let mut poll_one = |left: bool| {
            if left {
                let left = this.left.as_mut().as_pin_mut();
                left.expect("both branches are there").poll(cx)
            } else {
                let right = this.right.as_mut().as_pin_mut();
                right.expect("both branches are there").poll(cx)
            }
        };
        let mut poll = poll_one(left_first);
        if poll.is_pending() {
            poll = poll_one(!left_first);
        }
        if poll.is_ready() {
            Domain::abandon_branch(this.location, || {
                this.left.set(None);
                this.right.set(None);
            });
        }
        poll
    }
}
