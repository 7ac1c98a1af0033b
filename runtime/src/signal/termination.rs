//! Waiting for a request to terminate.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{NextSignal, Signal, Signals, stream};
use crate::panics::polled_after_completion;

/// Returns a future that is ready when the program is asked to terminate: at the first SIGINT
/// (Ctrl-C) or SIGTERM from now on. Its output is the signal.
///
/// Until the future is ready or dropped, these signals do not terminate the process. After that
/// they do, so a second signal ends a shutdown that hangs. A [`stream`] receives every signal, and
/// [`on`](super::on) spawns a task.
///
/// # Errors
///
/// As [`stream`].
///
/// # Cancel safety
///
/// Dropping the future restores the default behaviour of the signals, and loses one that has come
/// already. In a loop keep the future outside, and pass `&mut termination`.
///
/// # Panics
///
/// Panics outside a run. The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::signal::{self, Signal};
/// use matou_runtime::test::{check, send_signal};
/// use matou_runtime::{select, sleep};
///
/// check(0..3, || async {
///     let termination = signal::termination()?;
///     let serve = async {
///         sleep(Duration::from_secs(60)).await;
///         assert!(send_signal(Signal::Terminate)); // a real program is sent it by the system
///         std::future::pending().await
///     };
///     select! {
///         () = serve => {}
///         signal = termination => assert_eq!(signal, Signal::Terminate),
///     }
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[doc(alias = "ctrl_c")]
#[doc(alias = "shutdown_signal")]
#[doc(alias = "graceful_shutdown")]
#[track_caller]
pub fn termination() -> io::Result<Termination> {
    let signals = [stream(Signal::Interrupt)?, stream(Signal::Terminate)?];
    Ok(Termination { signals: Some(signals), at: Location::caller() })
}

/// The future of [`termination`].
#[derive(Debug)]
#[must_use = "dropping it restores the default behaviour of the signals"]
pub struct Termination {
    /// `None` after a signal.
    signals: Option<[Signals; 2]>,
    at: &'static Location<'static>,
}

impl Future for Termination {
    type Output = Signal;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Signal> {
        let this = self.get_mut();
        let Some(signals) = &mut this.signals else {
            polled_after_completion("`Termination`", this.at)
        };
        for signals in signals {
            let signal = signals.signal();
            if Pin::new(&mut NextSignal { signals, location: this.at }).poll(cx).is_ready() {
                // The next one terminates the process, also while this future is kept.
                // fault: termination-keeps-signals
                this.signals = None;
                return Poll::Ready(signal);
            }
        }
        Poll::Pending
    }
}
