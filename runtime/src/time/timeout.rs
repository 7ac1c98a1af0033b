use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::sleep::Sleep;
use crate::domain::Domain;

/// Runs `future` for at most `duration`.
///
/// When the time is up the future is dropped. Promises that it holds are thereby cancelled, and
/// that is no fault: functions that spawn children compose under a timeout. To keep a child, lend
/// its promise: after `timeout(duration, &mut promise)` it is still the caller's.
///
/// # Errors
///
/// [`Elapsed`] if the time was up first. A future that is ready at its first poll always wins.
///
/// # Cancel safety
///
/// As safe as `future` is.
///
/// # Panics
///
/// Outside a run.
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
///     promise.cancel().await; // still ours
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
        // None once it is given up.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future =
            this.future.as_mut().as_pin_mut().expect("`Timeout` is polled after it was ready");
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let at = this.sleep.at();
        // The wait that a report should name is the future's, so this one is not noted.
        if this.sleep.poll_quietly(cx).is_pending() {
            return Poll::Pending;
        }
        Domain::abandon(at, || this.future.set(None));
        Poll::Ready(Err(Elapsed))
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}
