use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::domain::Domain;

/// Runs two futures in the current task until one of them is ready, and gives the other one up.
///
/// Promises that the loser holds are thereby cancelled, and that is no fault; the task's end waits
/// for the end of those children. If both could be ready, the run's seed decides which one is
/// asked first. To race children, use [`await_first`](crate::await_first), which also waits until
/// the losers are gone.
///
/// # Cancel safety
///
/// As safe as both futures are.
///
/// # Panics
///
/// When it is polled after it was ready.
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
#[track_caller]
pub fn race<A, B>(left: A, right: B) -> Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    Race { left: Some(left), right: Some(right), at: Location::caller() }
}

pin_project! {
    /// The future of [`race`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Race<A, B> {
        // Both None once one of them was ready.
        #[pin]
        left: Option<A>,
        #[pin]
        right: Option<B>,
        at: &'static Location<'static>,
    }
}

impl<A, B> Future for Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        let mut this = self.project();
        let left_first = Domain::try_with(|domain| domain.random().below(2) == 0).unwrap_or(true);
        let mut poll_side = |left: bool| {
            if left {
                let left = this.left.as_mut().as_pin_mut();
                left.expect("`Race` is polled after it was ready").poll(cx)
            } else {
                let right = this.right.as_mut().as_pin_mut();
                right.expect("`Race` is polled after it was ready").poll(cx)
            }
        };
        let mut poll = poll_side(left_first);
        if poll.is_pending() {
            poll = poll_side(!left_first);
        }
        if poll.is_ready() {
            Domain::abandon_branch(this.at, || {
                this.left.set(None);
                this.right.set(None);
            });
        }
        poll
    }
}
