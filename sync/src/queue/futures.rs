use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use super::Queue;
use crate::error::{PopError, PushError, TryPopError, TryPushError};
use crate::waiting::{Listener, Notify};

/// Reports that the current task waits for a queue.
fn report_wait<T>(
    queue: &Queue<T>,
    operation: &'static str,
    called_at: &'static Location<'static>,
    cx: &Context<'_>,
) {
    let target = Target::new("queue", (&raw const *queue).addr());
    matou_hooks::on_wait(&Wait::new(operation, called_at).on(target), cx);
}

/// Repeats `attempt` until it succeeds, and waits for a notification in between.
fn poll_attempt<'a, R>(
    notify: &'a Notify,
    listener: &mut Option<Listener<'a>>,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut() -> Option<R>,
) -> Poll<R> {
    if listener.is_none() {
        // Only here: a waiter takes the value or the slot that it was woken for.
        // fault: queue-spends-no-budget
        ready!(matou_hooks::poll_budget(cx));
    }
    loop {
        if let Some(listening) = listener {
            ready!(listening.poll(cx));
            *listener = None;
        }
        // The fast path, or the use of a notification.
        if let Some(result) = attempt() {
            return Poll::Ready(result);
        }
        *listener = Some(notify.listen());
        // Again, since the queue may have changed before the listener was registered.
        // fault: queue-without-second-attempt
        if let Some(result) = attempt() {
            // If the listener was notified in the meantime, that was for another value or slot: the
            // drop passes it on.
            *listener = None;
            return Poll::Ready(result);
        }
    }
}

/// The future of [`Queue::push`].
///
/// # Cancel safety
///
/// Dropping it before it completes drops the value, which is not pushed.
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, futures::Push};
///
/// let queue = Queue::unbounded();
/// let push: Push<'_, i32> = queue.push(1);
/// futures::executor::block_on(push).unwrap();
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Push<'a, T> {
    queue: &'a Queue<T>,
    /// `None` once the future has completed.
    value: Option<T>,
    listener: Option<Listener<'a>>,
    called_at: &'static Location<'static>,
}

// The value is never pinned, only moved.
impl<T> Unpin for Push<'_, T> {}

impl<'a, T> Push<'a, T> {
    pub(super) fn new(
        queue: &'a Queue<T>,
        value: T,
        called_at: &'static Location<'static>,
    ) -> Self {
        Self { queue, value: Some(value), listener: None, called_at }
    }

    /// Cancels the push and returns the value, or `None` if the future has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::FutureExt;
    ///
    /// let queue = matou_sync::Queue::bounded(1);
    /// queue.try_push("first").unwrap();
    /// let mut push = queue.push("second");
    /// assert!((&mut push).now_or_never().is_none());
    /// assert_eq!(push.into_inner(), Some("second"));
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value
    }
}

impl<T> Future for Push<'_, T> {
    type Output = Result<(), PushError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { queue, value, listener, called_at } = &mut *self;
        let poll = poll_attempt(&queue.popped, listener, cx, || {
            let pushed = value.take().expect("`Push` polled after completion");
            match queue.try_push(pushed) {
                Ok(()) => Some(Ok(())),
                Err(TryPushError::Closed(returned)) => Some(Err(PushError(returned))),
                Err(TryPushError::Full(returned)) => {
                    *value = Some(returned);
                    None
                }
            }
        });
        if poll.is_pending() {
            report_wait(queue, "push", called_at, cx);
        }
        poll
    }
}

impl<T> fmt::Debug for Push<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("waiting", &self.listener.is_some()).finish_non_exhaustive()
    }
}

/// The future of [`Queue::pop`].
///
/// # Cancel safety
///
/// Dropping it loses no value.
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, futures::Pop};
///
/// let queue = Queue::unbounded();
/// queue.try_push(1).unwrap();
/// let pop: Pop<'_, i32> = queue.pop();
/// assert_eq!(futures::executor::block_on(pop), Ok(1));
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Pop<'a, T> {
    /// `None` once the future has completed.
    queue: Option<&'a Queue<T>>,
    listener: Option<Listener<'a>>,
    called_at: &'static Location<'static>,
}

impl<'a, T> Pop<'a, T> {
    pub(super) fn new(queue: &'a Queue<T>, called_at: &'static Location<'static>) -> Self {
        Self { queue: Some(queue), listener: None, called_at }
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let queue = this.queue.expect("`Pop` polled after completion");
        let poll = poll_attempt(&queue.pushed, &mut this.listener, cx, || match queue.try_pop() {
            Ok(value) => Some(Ok(value)),
            Err(TryPopError::Closed) => Some(Err(PopError)),
            Err(TryPopError::Empty) => None,
        });
        if poll.is_pending() {
            report_wait(queue, "pop", this.called_at, cx);
        } else {
            this.queue = None;
        }
        poll
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("waiting", &self.listener.is_some()).finish_non_exhaustive()
    }
}
