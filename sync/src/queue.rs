use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use concurrent_queue::ConcurrentQueue;

use crate::error::{PopError, PushError, TryPopError, TryPushError};
use crate::gate::{Gate, Turn};
use crate::hooks;
use crate::sys::{self, Sabotage};

/// A queue of values between tasks, for any number of pushers and poppers.
///
/// # Order
///
/// Values leave in the order in which they came in. Tasks that wait are called in the order in
/// which they began to, but are not handed the value or the room: one that finds it at once may
/// take it ahead of them, and the one that was called then waits again, at the end of the line.
///
/// # Closing
///
/// After [`close`](Self::close) nothing goes in, and pushers that wait get their value back. What
/// is in the queue can still be popped; then poppers get an error. Dropping the queue drops what is
/// in it.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::Queue;
///
/// let queue = Queue::bounded(1);
/// block_on(async {
///     let push = async {
///         for number in 1..=3 {
///             queue.push(number).await.unwrap();
///         }
///         queue.close();
///     };
///     let sum = async {
///         let mut sum = 0;
///         while let Ok(number) = queue.pop().await {
///             sum += number;
///         }
///         sum
///     };
///     assert_eq!(join!(push, sum).1, 6);
/// });
/// ```
///
/// A queue of values that are not `Send` stays on its thread:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::Queue::<std::rc::Rc<()>>::unbounded());
/// ```
pub struct Queue<T> {
    values: ConcurrentQueue<T>,
    /// Opened once for each value pushed.
    pushed: Gate,
    /// Opened once for each value popped; nobody waits here if the queue is unbounded.
    popped: Gate,
}

impl<T> Queue<T> {
    /// Creates a queue with room for `capacity` values.
    ///
    /// # Panics
    ///
    /// Panics if `capacity` is zero: a push would have to meet a pop, which no queue does.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Queue::<u8>::bounded(8).capacity(), Some(8));
    /// ```
    #[track_caller]
    pub fn bounded(capacity: usize) -> Self {
        assert!(capacity > 0, "the capacity of a queue must not be zero");
        Self {
            values: ConcurrentQueue::bounded(capacity),
            pushed: Gate::new(),
            popped: Gate::new(),
        }
    }

    sys::const_constructor! {
        /// Creates a queue that grows as needed. What bounds its length is up to you.
        ///
        /// # Examples
        ///
        /// ```
        /// static LOG: matou_sync::Queue<String> = matou_sync::Queue::unbounded();
        /// LOG.try_push("line".into()).unwrap();
        /// assert_eq!(LOG.len(), 1);
        /// ```
        pub fn unbounded() -> Self {
            Self {
                values: ConcurrentQueue::unbounded(),
                pushed: Gate::new(),
                popped: Gate::new(),
            }
        }
    }

    /// Pushes a value, waiting for room if the queue is bounded.
    ///
    /// # Errors
    ///
    /// Resolves to [`PushError`] with the value if the queue is closed, before or meanwhile.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has resolved.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it resolves drops the value, which was not pushed;
    /// [`Push::into_inner`] gets it back instead. Room that was offered to it is offered to the
    /// next.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let queue = matou_sync::Queue::bounded(1);
    /// queue.push("matou").await.unwrap();
    /// assert_eq!(queue.len(), 1);
    /// # });
    /// ```
    #[track_caller]
    pub fn push(&self, value: T) -> Push<'_, T> {
        Push { queue: self, value: Some(value), turn: None, at: Location::caller() }
    }

    /// Pushes a value if there is room now.
    ///
    /// # Errors
    ///
    /// Returns the value if there is none, or the queue is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::bounded(1);
    /// assert!(queue.try_push(1).is_ok());
    /// assert!(queue.try_push(2).is_err());
    /// ```
    pub fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        sys::foreign_call();
        match self.values.push(value) {
            Ok(()) => {
                self.pushed.open_one();
                Ok(())
            }
            Err(concurrent_queue::PushError::Full(value)) => Err(TryPushError::Full(value)),
            Err(concurrent_queue::PushError::Closed(value)) => Err(TryPushError::Closed(value)),
        }
    }

    /// Pops the oldest value, waiting for one if the queue is empty.
    ///
    /// # Errors
    ///
    /// Resolves to [`PopError`] if the queue is empty and closed.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has resolved.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a value leaves the queue only in the poll that returns
    /// it, and a value that was announced to it is announced to the next.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let queue = matou_sync::Queue::unbounded();
    /// queue.push(1).await.unwrap();
    /// assert_eq!(queue.pop().await, Ok(1));
    /// # });
    /// ```
    #[track_caller]
    pub fn pop(&self) -> Pop<'_, T> {
        Pop { queue: Some(self), turn: None, at: Location::caller() }
    }

    /// Pops the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// Says whether the queue is empty for now or, being closed, for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::unbounded();
    /// queue.try_push(1).unwrap();
    /// assert_eq!(queue.try_pop(), Ok(1));
    /// assert!(queue.try_pop().is_err());
    /// ```
    pub fn try_pop(&self) -> Result<T, TryPopError> {
        sys::foreign_call();
        match self.values.pop() {
            Ok(value) => {
                self.popped.open_one();
                Ok(value)
            }
            Err(concurrent_queue::PopError::Empty) => Err(TryPopError::Empty),
            Err(concurrent_queue::PopError::Closed) => Err(TryPopError::Closed),
        }
    }

    /// Pushes a value and blocks the thread while there is no room. Not for tasks.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::bounded(1);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| (0..3).for_each(|number| queue.push_blocking(number).unwrap()));
    ///     assert!((0..3).all(|number| queue.pop_blocking() == Ok(number)));
    /// });
    /// ```
    #[cfg(not(any(loom, shuttle)))]
    pub fn push_blocking(&self, value: T) -> Result<(), PushError<T>> {
        crate::blocking::block_on(self.push(value))
    }

    /// Pops the oldest value and blocks the thread while there is none. Not for tasks.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::unbounded();
    /// queue.try_push(1).unwrap();
    /// assert_eq!(queue.pop_blocking(), Ok(1));
    /// ```
    #[cfg(not(any(loom, shuttle)))]
    pub fn pop_blocking(&self) -> Result<T, PopError> {
        crate::blocking::block_on(self.pop())
    }

    /// Closes the queue, and returns whether it was open.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::<i32>::unbounded();
    /// assert!(queue.close());
    /// assert!(!queue.close());
    /// assert!(queue.try_push(1).is_err());
    /// ```
    pub fn close(&self) -> bool {
        sys::foreign_call();
        let was_open = self.values.close();
        if was_open {
            self.pushed.open_all();
            self.popped.open_all();
        }
        was_open
    }

    /// Returns whether the queue is closed. There may be values left in it.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Queue::<i32>::unbounded().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        sys::foreign_call();
        self.values.is_closed()
    }

    /// Returns how many values are in the queue. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Queue::<i32>::unbounded().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        sys::foreign_call();
        self.values.len()
    }

    /// Returns whether there is no value in the queue. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(matou_sync::Queue::<i32>::bounded(1).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        sys::foreign_call();
        self.values.is_empty()
    }

    /// Returns how many values there is room for, or `None` if the queue is unbounded.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Queue::<i32>::unbounded().capacity(), None);
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        self.values.capacity()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// Repeats `attempt` each time that `gate` calls, until it succeeds.
///
/// Each round makes it twice: before listening, which is the fast path and the use of a call, and
/// once more after it, as what it needs may have come in between.
fn poll_at<'a, R>(
    gate: &'a Gate,
    turn: &mut Option<Turn<'a>>,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut() -> Option<R>,
) -> Poll<R> {
    loop {
        if let Some(listening) = turn {
            ready!(listening.poll(cx));
            *turn = None;
        }
        if let Some(result) = attempt() {
            return Poll::Ready(result);
        }
        *turn = Some(gate.listen());
        if sys::sabotaged(Sabotage::QueueWithoutRecheck) {
            continue;
        }
        if let Some(result) = attempt() {
            // If a call came meanwhile, this drop passes it on: it was for another value.
            *turn = None;
            return Poll::Ready(result);
        }
    }
}

/// The future of [`Queue::push`].
///
/// # Cancel safety
///
/// Dropping it before it resolves drops the value, which was not pushed.
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
    /// `None` once this has resolved.
    value: Option<T>,
    turn: Option<Turn<'a>>,
    at: &'static Location<'static>,
}

// The value is never pinned, only moved.
impl<T> Unpin for Push<'_, T> {}

impl<T> Push<'_, T> {
    /// Gives up the push and returns the value, or `None` if the future has resolved.
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
        let Self { queue, value, turn, at } = &mut *self;
        let poll = poll_at(&queue.popped, turn, cx, || {
            let pushed = value.take().expect("a `Push` was polled after it had resolved");
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
            hooks::on_wait(None, "push", at);
        }
        poll
    }
}

impl<T> fmt::Debug for Push<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("waits", &self.turn.is_some()).finish_non_exhaustive()
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
    /// `None` once this has resolved.
    queue: Option<&'a Queue<T>>,
    turn: Option<Turn<'a>>,
    at: &'static Location<'static>,
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let queue = this.queue.expect("a `Pop` was polled after it had resolved");
        let poll = poll_at(&queue.pushed, &mut this.turn, cx, || match queue.try_pop() {
            Ok(value) => Some(Ok(value)),
            Err(TryPopError::Closed) => Some(Err(PopError)),
            Err(TryPopError::Empty) => None,
        });
        if poll.is_pending() {
            hooks::on_wait(None, "pop", this.at);
        } else {
            this.queue = None;
        }
        poll
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("waits", &self.turn.is_some()).finish_non_exhaustive()
    }
}
