use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use super::Queue;
use crate::error::{PopError, PushError, polled_after_completion};
use crate::holder::OnlyUser;
use crate::waiting::{Notify, Place, Request, Waiting};

/// Reports that the current task waits for a queue.
fn report_wait<T>(
    queue: &Queue<T>,
    operation: &'static str,
    called_at: &'static Location<'static>,
    other_end: &OnlyUser,
    cx: &Context<'_>,
) {
    let target = Target::new("queue", (&raw const *queue).addr());
    let wait = Wait::new(operation, called_at).on(target);
    matou_hooks::on_wait(&other_end.get().map_or(wait, |user| wait.held_by(user)), cx);
}

/// The common part of all that pushes and pops: tries as a newcomer, and then waits.
#[inline]
fn poll_attempt<R>(
    (notify, user): (&Notify, &OnlyUser),
    place: &mut Place,
    called_at: &'static Location<'static>,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut(usize) -> Option<R>,
) -> Poll<R> {
    let task = if place.is_waiting() {
        matou_hooks::current_task()
    } else {
        // Only here: a waiter takes the value or the slot that it was woken for.
        // fault: queue-spends-no-budget
        let task = ready!(matou_hooks::begin_operation(cx));
        if let Some(result) = notify.as_newcomer(&mut attempt) {
            user.record(|| task, called_at);
            return Poll::Ready(result);
        }
        task
    };
    let poll = place.poll(notify, cx, Request { task, at: called_at, data: 0 }, attempt);
    if poll.is_ready() {
        user.record(|| task, called_at);
    }
    poll
}

/// Pushes the value, which is `None` after that.
#[inline]
pub(super) fn poll_push<T>(
    queue: &Queue<T>,
    place: &mut Place,
    value: &mut Option<T>,
    called_at: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), PushError<T>>> {
    let poll = poll_attempt((&queue.popped, &queue.pusher), place, called_at, cx, |reserved| {
        let pushed = value.take().unwrap_or_else(|| polled_after_completion("`Push`", called_at));
        match queue.push_unless_full(pushed, reserved) {
            Ok(result) => Some(result),
            Err(returned) => {
                *value = Some(returned);
                None
            }
        }
    });
    match &poll {
        Poll::Ready(Ok(())) => queue.pushed.notify_one(),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => report_wait(queue, "push", called_at, &queue.popper, cx),
    }
    poll
}

#[inline]
pub(super) fn poll_pop<T>(
    queue: &Queue<T>,
    place: &mut Place,
    called_at: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, PopError>> {
    let pop = |reserved| queue.pop_unless_empty(reserved);
    let poll = poll_attempt((&queue.pushed, &queue.popper), place, called_at, cx, pop);
    match &poll {
        Poll::Ready(Ok(_)) => queue.popped.notify_one(),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => report_wait(queue, "pop", called_at, &queue.pusher, cx),
    }
    poll
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
    waiting: Waiting<'a>,
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
        Self { queue, value: Some(value), waiting: Waiting::new(&queue.popped), called_at }
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
        let Self { queue, value, waiting, called_at } = &mut *self;
        poll_push(queue, waiting.place(), value, called_at, cx)
    }
}

impl<T> fmt::Debug for Push<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("waiting", &self.waiting.is_waiting()).finish_non_exhaustive()
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
    waiting: Waiting<'a>,
    called_at: &'static Location<'static>,
}

impl<'a, T> Pop<'a, T> {
    pub(super) fn new(queue: &'a Queue<T>, called_at: &'static Location<'static>) -> Self {
        Self { queue: Some(queue), waiting: Waiting::new(&queue.pushed), called_at }
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(queue) = this.queue else { polled_after_completion("`Pop`", this.called_at) };
        let poll = poll_pop(queue, this.waiting.place(), this.called_at, cx);
        if poll.is_ready() {
            this.queue = None;
        }
        poll
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("waiting", &self.waiting.is_waiting()).finish_non_exhaustive()
    }
}
