use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use matou_runtime::futures::{CancelledWait, Sleep};
use matou_runtime::{cancelled, sleep};
use pin_project_lite::pin_project;

/// A stream of server-sent events that yields `comment()` whenever `events` has yielded nothing for
/// `interval`, and that ends when the server shuts down.
///
/// Proxies and clients close a response that is silent for too long, so a stream of events needs
/// something to send; a server without it also does not notice that a client has left. With axum,
/// this takes the place of `Sse::keep_alive`, which needs tokio.
///
/// At a shutdown the response is complete after the events that were sent. A browser connects again
/// and asks for the events behind the last one.
///
/// # Panics
///
/// The stream panics when it is polled outside a run.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use axum::response::sse::{Event, Sse};
/// use axum::{Router, response::IntoResponse, routing::get};
/// use futures::stream;
/// use matou_http::keep_alive;
///
/// async fn events() -> impl IntoResponse {
///     let events = stream::iter([Ok::<_, Infallible>(Event::default().data("purr"))]);
///     let comment = || Ok(Event::default().comment("still here"));
///     Sse::new(keep_alive(events, Duration::from_secs(15), comment))
/// }
/// let router: Router = Router::new().route("/events", get(events));
/// # let _ = router;
/// ```
#[doc(alias = "sse")]
#[doc(alias = "EventSource")]
pub fn keep_alive<S, F>(events: S, interval: Duration, comment: F) -> KeepAlive<S, F>
where
    S: Stream,
    F: FnMut() -> S::Item,
{
    KeepAlive { events, interval, comment, silence: None, shutdown: cancelled(), is_over: false }
}

pin_project! {
    /// The stream of [`keep_alive`].
    #[must_use = "streams do nothing unless polled"]
    pub struct KeepAlive<S, F> {
        #[pin]
        events: S,
        interval: Duration,
        comment: F,
        // The timer of the current silence.
        silence: Option<Sleep>,
        shutdown: CancelledWait,
        is_over: bool,
    }
}

impl<S, F> Stream for KeepAlive<S, F>
where
    S: Stream,
    F: FnMut() -> S::Item,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        // Before the events: a stream that always has one must not hold up a shutdown.
        // fault: events-ignore-the-shutdown
        if Pin::new(&mut *this.shutdown).poll(cx).is_ready() {
            *this.is_over = true;
            return Poll::Ready(None);
        }
        if let Poll::Ready(event) = this.events.poll_next(cx) {
            *this.silence = None;
            *this.is_over = event.is_none();
            return Poll::Ready(event);
        }
        let silence = this.silence.get_or_insert_with(|| sleep(*this.interval));
        ready!(Pin::new(silence).poll(cx));
        *this.silence = None;
        Poll::Ready(Some((this.comment)()))
    }
}

impl<S, F> fmt::Debug for KeepAlive<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").field("interval", &self.interval).finish_non_exhaustive()
    }
}
