//! Pauses between attempts, for operations whose success the system does not announce.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_runtime::futures::Sleep;
use matou_runtime::{BlockedOn, WaitSite, WaitTarget, poll_proceed, sleep};

/// How long the first pause lasts. Each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The current pause of an operation.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    pause: Option<(Duration, Sleep)>,
}

impl Retry {
    /// Starts a pause.
    pub(crate) fn pause(&mut self) {
        let last = self.pause.as_ref().map_or(PAUSE_MIN / 2, |(last, _)| *last);
        let length = (last * 2).min(PAUSE_MAX);
        self.pause = Some((length, sleep(length)));
    }

    /// Waits for the end of the pause, if there is one. Spends budget.
    pub(crate) fn poll(
        &mut self,
        operation: &'static str,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        ready!(poll_proceed(cx));
        let Some((_, pause)) = &mut self.pause else { return Poll::Ready(()) };
        if Pin::new(&mut *pause).poll(cx).is_pending() {
            if let Some(until) = pause.deadline() {
                BlockedOn::new(WaitSite::new(operation, at), WaitTarget::Deadline(until)).note();
            }
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
