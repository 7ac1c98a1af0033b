//! Popping several values at once, pushing to a full queue, and waiting for the end of a queue.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use super::Queue;
use super::futures::Pop;
use crate::error::{PopError, PushError, polled_after_completion};
use crate::waiting::{Request, Waiting};

impl<T> Queue<T> {
    /// Pops up to `limit` values at once: waits for one as [`pop`](Self::pop) does, and takes those
    /// that are behind it.
    ///
    /// # Errors
    ///
    /// Returns [`PopError`] if the queue is empty and closed.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero. The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let queue = matou_sync::Queue::unbounded();
    /// (1..=5).for_each(|number| queue.try_push(number).unwrap());
    /// assert_eq!(queue.pop_many(3).await.unwrap(), [1, 2, 3]);
    /// assert_eq!(queue.pop_many(3).await.unwrap(), [4, 5]);
    /// # });
    /// ```
    #[doc(alias = "recv_many")]
    #[track_caller]
    pub fn pop_many(&self, limit: usize) -> PopMany<'_, T> {
        assert!(limit > 0, "at least one value must be requested");
        PopMany { queue: self, pop: self.pop(), limit }
    }

    /// Pushes a value without waiting. If the queue is full, the oldest value makes room and is
    /// returned. A value that is pushed this way overtakes pushes that wait.
    ///
    /// # Errors
    ///
    /// Returns the value if the queue is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let latest = matou_sync::Queue::bounded(1);
    /// assert_eq!(latest.force_push(1).unwrap(), None);
    /// assert_eq!(latest.force_push(2).unwrap(), Some(1));
    /// assert_eq!(latest.try_pop(), Ok(2));
    /// ```
    #[track_caller]
    pub fn force_push(&self, value: T) -> Result<Option<T>, PushError<T>> {
        let displaced = match self.values.force_push(value) {
            Ok(displaced) => displaced,
            Err(concurrent_queue::ForcePushError(value)) => return Err(PushError(value)),
        };
        self.note_peak();
        self.pusher.record(matou_hooks::current_task, Location::caller());
        // Also if a value was displaced: a pop may have taken that before.
        // fault: forced-push-wakes-no-pop
        self.pushed.notify_one();
        Ok(displaced)
    }

    /// Waits until the queue is closed. It may still contain values then.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{executor::block_on, join};
    ///
    /// let queue = matou_sync::Queue::<u8>::unbounded();
    /// block_on(async { join!(queue.closed(), async { queue.close() }) });
    /// ```
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        let (waiting, called_at) = (Waiting::new(&self.closing), Location::caller());
        Closed { queue: Some(self), waiting, called_at }
    }
}

/// The future of [`Queue::pop_many`].
///
/// # Cancel safety
///
/// Dropping it loses no value.
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, futures::PopMany};
///
/// let queue = Queue::unbounded();
/// queue.try_push(1).unwrap();
/// let pop: PopMany<'_, i32> = queue.pop_many(8);
/// assert_eq!(futures::executor::block_on(pop).unwrap(), [1]);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct PopMany<'a, T> {
    queue: &'a Queue<T>,
    pop: Pop<'a, T>,
    limit: usize,
}

impl<T> Future for PopMany<'_, T> {
    type Output = Result<Vec<T>, PopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let first = ready!(Pin::new(&mut self.pop).poll(cx))?;
        let more = std::iter::from_fn(|| self.queue.try_pop().ok());
        Poll::Ready(Ok(std::iter::once(first).chain(more.take(self.limit - 1)).collect()))
    }
}

impl<T> fmt::Debug for PopMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopMany")
            .field("limit", &self.limit)
            .field("pop", &self.pop)
            .finish_non_exhaustive()
    }
}

/// The future of [`Queue::closed`].
///
/// # Cancel safety
///
/// Dropping it loses nothing.
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, futures::Closed};
///
/// let queue = Queue::<u8>::unbounded();
/// let closed: Closed<'_, u8> = queue.closed();
/// queue.close();
/// futures::executor::block_on(closed);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Closed<'a, T> {
    /// `None` once the future has completed.
    queue: Option<&'a Queue<T>>,
    waiting: Waiting<'a>,
    called_at: &'static Location<'static>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(queue) = this.queue else { polled_after_completion("`Closed`", this.called_at) };
        let task = if this.waiting.is_waiting() {
            matou_hooks::current_task()
        } else {
            ready!(matou_hooks::begin_operation(cx))
        };
        let request = Request { task, at: this.called_at, data: 0 };
        let is_closed = |_| queue.is_closed().then_some(());
        if this.waiting.poll(cx, request, is_closed).is_pending() {
            let target = Target::new("queue", (&raw const *queue).addr());
            matou_hooks::on_wait(&Wait::new("closed", this.called_at).on(target), cx);
            return Poll::Pending;
        }
        this.queue = None;
        Poll::Ready(())
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("waiting", &self.waiting.is_waiting())
            .finish_non_exhaustive()
    }
}
