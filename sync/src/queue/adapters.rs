//! A queue as a `Stream` of its values, and as a `Sink`.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use super::Queue;
use super::futures::{poll_pop, poll_push};
use crate::error::PushError;
use crate::waiting::Place;

impl<T> Queue<T> {
    /// Returns the values as a stream, which ends when the queue is closed and empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    ///
    /// # futures::executor::block_on(async {
    /// let queue = matou_sync::Queue::unbounded();
    /// (1..=3).for_each(|number| queue.try_push(number).unwrap());
    /// queue.close();
    /// assert_eq!(queue.stream().collect::<Vec<_>>().await, [1, 2, 3]);
    /// # });
    /// ```
    #[track_caller]
    pub fn stream(&self) -> QueueStream<&Queue<T>, T> {
        QueueStream::new(self, Location::caller())
    }

    /// Returns the values as a stream that owns a share of the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use futures::StreamExt;
    ///
    /// # futures::executor::block_on(async {
    /// let queue = Arc::new(matou_sync::Queue::unbounded());
    /// let mut stream = queue.stream_arc();
    /// queue.try_push(1).unwrap();
    /// assert_eq!(stream.next().await, Some(1));
    /// # });
    /// ```
    #[track_caller]
    pub fn stream_arc(self: &Arc<Self>) -> QueueStream<Arc<Queue<T>>, T> {
        QueueStream::new(Arc::clone(self), Location::caller())
    }

    /// Returns the queue as a sink. It holds at most one value that is not in the queue yet.
    ///
    /// Closing the sink pushes that value and does not close the queue, which may have other
    /// producers. Dropping the sink drops it.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{StreamExt, stream};
    ///
    /// # futures::executor::block_on(async {
    /// let queue = matou_sync::Queue::bounded(3);
    /// stream::iter([1, 2, 3]).map(Ok).forward(queue.sink()).await.unwrap();
    /// assert_eq!(queue.len(), 3);
    /// # });
    /// ```
    #[track_caller]
    pub fn sink(&self) -> QueueSink<&Queue<T>, T> {
        QueueSink::new(self, Location::caller())
    }

    /// Returns the queue as a sink that owns a share of it. As [`sink`](Self::sink) otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::SinkExt;
    ///
    /// # futures::executor::block_on(async {
    /// let queue = std::sync::Arc::new(matou_sync::Queue::bounded(3));
    /// queue.sink_arc().send(1).await.unwrap();
    /// assert_eq!(queue.try_pop(), Ok(1));
    /// # });
    /// ```
    #[track_caller]
    pub fn sink_arc(self: &Arc<Self>) -> QueueSink<Arc<Queue<T>>, T> {
        QueueSink::new(Arc::clone(self), Location::caller())
    }
}

/// The stream of [`Queue::stream`]. `Q` is `&Queue` or `Arc<Queue>`.
///
/// # Cancel safety
///
/// Giving up to wait for the next value, and dropping the stream, lose no value.
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
///
/// let queue = matou_sync::Queue::unbounded();
/// queue.try_push(1).unwrap();
/// assert_eq!(futures::executor::block_on(queue.stream().next()), Some(1));
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct QueueStream<Q: Deref<Target = Queue<T>>, T> {
    queue: Q,
    place: Place,
    called_at: &'static Location<'static>,
}

impl<Q: Deref<Target = Queue<T>>, T> QueueStream<Q, T> {
    fn new(queue: Q, called_at: &'static Location<'static>) -> Self {
        Self { queue, place: Place::new(), called_at }
    }
}

// The queue is never pinned.
impl<Q: Deref<Target = Queue<T>>, T> Unpin for QueueStream<Q, T> {}

impl<Q: Deref<Target = Queue<T>>, T> Stream for QueueStream<Q, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { queue, place, called_at } = &mut *self;
        poll_pop(queue, place, called_at, cx).map(Result::ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let is_closed = self.queue.is_closed();
        // Other consumers may take the values.
        (0, is_closed.then(|| self.queue.len()))
    }
}

impl<Q: Deref<Target = Queue<T>>, T> FusedStream for QueueStream<Q, T> {
    fn is_terminated(&self) -> bool {
        self.queue.is_closed() && self.queue.is_empty()
    }
}

impl<Q: Deref<Target = Queue<T>>, T> Drop for QueueStream<Q, T> {
    fn drop(&mut self) {
        self.place.leave(&self.queue.pushed);
    }
}

impl<Q: Deref<Target = Queue<T>>, T> fmt::Debug for QueueStream<Q, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueStream").field("queue", &*self.queue).finish_non_exhaustive()
    }
}

/// The sink of [`Queue::sink`]. `Q` is `&Queue` or `Arc<Queue>`.
///
/// # Cancel safety
///
/// Giving up to wait loses nothing. Dropping the sink drops the value that is not in the queue yet,
/// which `flush` avoids.
///
/// # Examples
///
/// ```
/// use futures::SinkExt;
///
/// let queue = matou_sync::Queue::bounded(1);
/// futures::executor::block_on(queue.sink().send(1)).unwrap();
/// assert_eq!(queue.len(), 1);
/// ```
#[must_use = "sinks do nothing unless polled"]
pub struct QueueSink<Q: Deref<Target = Queue<T>>, T> {
    queue: Q,
    place: Place,
    /// A value that is not in the queue yet.
    value: Option<T>,
    called_at: &'static Location<'static>,
}

impl<Q: Deref<Target = Queue<T>>, T> QueueSink<Q, T> {
    fn new(queue: Q, called_at: &'static Location<'static>) -> Self {
        Self { queue, place: Place::new(), value: None, called_at }
    }
}

// The value is never pinned, only moved.
impl<Q: Deref<Target = Queue<T>>, T> Unpin for QueueSink<Q, T> {}

impl<Q: Deref<Target = Queue<T>>, T> Sink<T> for QueueSink<Q, T> {
    type Error = PushError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_flush(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, value: T) -> Result<(), Self::Error> {
        assert!(self.value.is_none(), "`start_send` called before `poll_ready` was ready");
        if self.queue.is_closed() {
            return Err(PushError(value));
        }
        self.value = Some(value);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let Self { queue, place, value, called_at } = &mut *self;
        if value.is_some() {
            ready!(poll_push(queue, place, value, called_at, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_flush(cx)
    }
}

impl<Q: Deref<Target = Queue<T>>, T> Drop for QueueSink<Q, T> {
    fn drop(&mut self) {
        self.place.leave(&self.queue.popped);
    }
}

impl<Q: Deref<Target = Queue<T>>, T> fmt::Debug for QueueSink<Q, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSink")
            .field("queue", &*self.queue)
            .field("has_value", &self.value.is_some())
            .finish_non_exhaustive()
    }
}
