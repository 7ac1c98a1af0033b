//! Streams that say something now and then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;
use pin_project_lite::pin_project;

pin_project! {
    /// The stream of [`keep_alive`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct KeepAlive<S, F> {
        #[pin]
        stream: S,
        interval: Duration,
        item: F,
        // Set at the first poll, and moved by each item.
        timer: Option<Sleep>,
    }
}

/// Yields what `stream` yields, and `item()` whenever that was nothing for `interval`. For
/// server-sent events, whose connections proxies close when they are silent.
///
/// # Cancel safety
///
/// That of the stream.
///
/// # Examples
///
/// With `Sse` of axum, whose own `keep_alive` needs tokio:
///
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use axum::response::sse::{Event, Sse};
/// use axum::{Router, routing::get};
/// use futures::stream;
/// use matou_http::keep_alive;
///
/// async fn news() -> Sse<impl futures::Stream<Item = Result<Event, Infallible>>> {
///     let events = stream::pending();
///     Sse::new(keep_alive(events, Duration::from_secs(15), || Ok(Event::default().comment(""))))
/// }
///
/// let router: Router = Router::new().route("/news", get(news));
/// # let _ = router;
/// ```
#[doc(alias = "sse")]
pub fn keep_alive<S, F>(stream: S, interval: Duration, item: F) -> KeepAlive<S, F>
where
    S: Stream,
    F: FnMut() -> S::Item,
{
    KeepAlive { stream, interval, item, timer: None }
}

impl<S, F> Stream for KeepAlive<S, F>
where
    S: Stream,
    F: FnMut() -> S::Item,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if let Poll::Ready(item) = this.stream.poll_next(cx) {
            *this.timer = None;
            return Poll::Ready(item);
        }
        let timer = this.timer.get_or_insert_with(|| sleep(*this.interval));
        // fault: silent-streams-stay-silent
        if Pin::new(timer).poll(cx).is_ready() {
            *this.timer = None;
            return Poll::Ready(Some((this.item)()));
        }
        Poll::Pending
    }
}
