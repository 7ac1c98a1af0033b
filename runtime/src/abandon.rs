use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::Domain;
use crate::panics::polled_after_completion;

/// Polls a future, and gives up the children whose promises are dropped with it.
///
/// Dropping a promise cancels the child. A promise that was never polled counts as forgotten, which
/// is reported, if it is dropped in the poll that spawned the child, or by the parent's last poll.
/// `abandon` states that the drop is intended: what `future` holds when it is dropped is given up
/// without a report, and also without the violation of
/// [`Forgotten::Strict`](crate::Forgotten::Strict). Dropping a promise itself is such a drop, so
/// `drop(abandon(promise))` gives one child up.
///
/// The combinators of this crate ([`race`](crate::race), [`timeout`](crate::timeout), ..) do the
/// same with the branches that they drop. `abandon` is for those of other crates, and for a future
/// that is dropped by hand.
///
/// # Cancel safety
///
/// As cancel safe as `future`.
///
/// # Panics
///
/// The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, abandon, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let prefetched = spawn(pending::<()>());
///     drop(abandon(prefetched)); // cancelled, and no mistake
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "detach")]
#[doc(alias = "drop")]
#[track_caller]
pub fn abandon<F: Future>(future: F) -> Abandon<F> {
    Abandon { future: Some(future), at: Location::caller() }
}

pin_project! {
    /// The future of [`abandon`].
    #[must_use = "the children are given up when this is dropped"]
    #[derive(Debug)]
    pub struct Abandon<F> {
        // None after the future has completed.
        #[pin]
        future: Option<F>,
        at: &'static Location<'static>,
    }

    impl<F> PinnedDrop for Abandon<F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_future();
        }
    }
}

impl<F> Abandon<F> {
    fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        // fault: abandon-forgets
        Domain::abandon_branch(this.at, || this.future.set(None));
    }
}

impl<F: Future> Future for Abandon<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else {
            polled_after_completion("`Abandon`", this.at)
        };
        let output = ready!(future.poll(cx));
        self.drop_future();
        Poll::Ready(output)
    }
}
