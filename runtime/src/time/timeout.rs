use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::sleep::Sleep;
use crate::domain::Domain;
use crate::panics::polled_after_completion;

/// Runs `future` for at most `duration`.
///
/// When the duration has elapsed, the future is dropped. This cancels the promises that it holds,
/// and is no violation, so functions that spawn children can run under a timeout. To keep a child,
/// pass its promise by reference: after `timeout(duration, &mut promise)` the caller still owns it.
///
/// # Errors
///
/// Returns [`Elapsed`] if the duration elapsed first. A future that is ready at its first poll
/// always wins.
///
/// # Cancel safety
///
/// As cancel safe as `future`.
///
/// # Panics
///
/// Panics outside a run. The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
/// use matou_runtime::{RunError, run, spawn, timeout};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut promise = spawn(pending::<()>());
///     assert!(timeout(Duration::from_millis(5), &mut promise).await.is_err());
///     promise.cancel().await; // the caller still owns the promise
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: Some(future), sleep: Sleep::new(duration) }
}

pin_project! {
    /// The future of [`timeout`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        // None after the timeout has elapsed.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let location = this.sleep.location();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            polled_after_completion("`Timeout`", location)
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Reports should show what `future` waits for, so this wait is not recorded.
        if this.sleep.poll_unrecorded(cx).is_pending() {
            return Poll::Pending;
        }
        Domain::abandon_branch(location, || this.future.set(None));
        Poll::Ready(Err(Elapsed))
    }
}

/// The error of [`timeout`] and [`deadline`](crate::deadline): the time limit has elapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
