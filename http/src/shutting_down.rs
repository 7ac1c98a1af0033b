//! Waiting for the shutdown of the server.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use matou_runtime::WakerKey;

use crate::connection_state::Announcement;
use crate::current::current;

/// Waits until the server of the current handler or upgraded protocol begins its shutdown.
///
/// A handler need not look: the server waits for its end. A response without an end, such as a
/// stream of events or a WebSocket, ends itself then, instead of being cut off at the
/// [drain timeout](crate::Limits::drain_timeout).
///
/// The future belongs to the connection in whose handler it was created, and may be moved to other
/// tasks. Outside a handler or protocol that [`serve`](crate::serve) runs it is never ready.
///
/// # Cancel safety
///
/// It can be dropped and created again at any time.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use http::Response;
/// use matou_http::{service_fn, shutting_down};
///
/// let wait_for_the_end = service_fn(|_| async {
///     shutting_down().await;
///     Ok::<_, Infallible>(Response::new("purr".to_owned()))
/// });
/// # let _ = wait_for_the_end;
/// ```
#[doc(alias = "graceful_shutdown")]
#[doc(alias = "CancellationToken")]
pub fn shutting_down() -> ShuttingDown {
    let announcement = current().map(|connection| Arc::clone(&connection.server.announcement));
    ShuttingDown { announcement, key: WakerKey::new() }
}

/// The future of [`shutting_down`].
#[must_use = "futures do nothing unless polled"]
pub struct ShuttingDown {
    announcement: Option<Arc<Announcement>>,
    key: WakerKey,
}

impl Future for ShuttingDown {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match &this.announcement {
            Some(announcement) if announcement.poll(&mut this.key, cx) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for ShuttingDown {
    fn drop(&mut self) {
        if let Some(announcement) = &self.announcement {
            announcement.forget(&mut self.key);
        }
    }
}

impl fmt::Debug for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShuttingDown").finish_non_exhaustive()
    }
}
