mod adapters;
mod futures;
mod more;
mod peak;

use std::fmt;
use std::panic::Location;
use std::sync::atomic::AtomicUsize;

use concurrent_queue::ConcurrentQueue;

pub use self::adapters::{QueueSink, QueueStream};
pub use self::futures::{Pop, Push};
pub use self::more::{Closed, PopMany};
use crate::error::{PopError, PushError, TryPopError, TryPushError};
use crate::holder::OnlyUser;
use crate::primitives::const_fn;
use crate::waiting::{Kind, Notify};

/// A queue of values between tasks, for any number of producers and consumers.
///
/// # Order
///
/// Values leave in the order in which they were pushed. Waiting tasks are notified in the order in
/// which they began to wait, but are not handed the value or the slot: a newcomer may take it ahead
/// of them, and the task that was notified keeps its place. This is bounded, as for
/// [`Mutex`](crate::Mutex): a push or pop that has been overtaken five times holds newcomers back,
/// as far as they would take what is reserved for it. So a task must not be the only one that pops
/// from a bounded queue and also wait in a push to it: the slot that it has freed may be another
/// one's.
///
/// A [`Push`] or [`Pop`] that is kept without being polled does not keep others waiting under
/// `matou-runtime`; see [`Mutex`](crate::Mutex#futures-that-are-kept).
///
/// # Closing
///
/// After [`close`](Self::close) no value can be pushed, and waiting pushes return their values. The
/// values in the queue can still be popped; after the last one, pops return an error. Dropping the
/// queue drops its values.
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
/// A queue of values that are not `Send` cannot be shared between threads:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::Queue::<std::rc::Rc<()>>::unbounded());
/// ```
#[doc(alias = "channel")]
#[doc(alias = "mpmc")]
#[doc(alias = "mpsc")]
#[doc(alias = "async_channel")]
pub struct Queue<T> {
    values: ConcurrentQueue<T>,
    /// Notified once per pushed value. Pops wait here.
    pushed: Notify,
    /// Notified once per popped value. Pushes to a bounded queue wait here.
    popped: Notify,
    /// Notified when the queue is closed.
    closing: Notify,
    /// For reports: the task that pushes, and the one that pops, if it is one task each.
    pusher: OnlyUser,
    popper: OnlyUser,
    /// The largest number of values so far, if that is recorded.
    peak: Option<AtomicUsize>,
}

impl<T> Queue<T> {
    /// Creates a queue for at most `capacity` values.
    ///
    /// # Panics
    ///
    /// Panics if `capacity` is zero.
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
            pushed: Notify::new(Kind::Pop),
            popped: Notify::new(Kind::Push),
            closing: Notify::new(Kind::Close),
            pusher: OnlyUser::new(),
            popper: OnlyUser::new(),
            peak: None,
        }
    }

    const_fn! {
        /// Creates a queue without a limit to its length.
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
                pushed: Notify::new(Kind::Pop),
                popped: Notify::new(Kind::Push),
                closing: Notify::new(Kind::Close),
                pusher: OnlyUser::new(),
                popper: OnlyUser::new(),
                peak: None,
            }
        }
    }

    /// Pushes a value, waiting for a free slot if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// Returns [`PushError`](crate::PushError) with the value if the queue is closed, also if it is
    /// closed during the wait.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it completes drops the value, which is not pushed;
    /// [`Push::into_inner`] returns it instead. If the future was notified of a free slot, the next
    /// waiting push is notified.
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
    #[doc(alias = "send")]
    #[track_caller]
    pub fn push(&self, value: T) -> Push<'_, T> {
        Push::new(self, value, Location::caller())
    }

    /// Pushes a value if that is possible at once.
    ///
    /// # Errors
    ///
    /// Returns the value if the queue is full or closed. It also counts as full if each free slot
    /// is reserved for a waiting push that was overtaken too often.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::bounded(1);
    /// assert!(queue.try_push(1).is_ok());
    /// assert!(queue.try_push(2).is_err());
    /// ```
    #[doc(alias = "try_send")]
    #[track_caller]
    pub fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        match self.popped.as_newcomer(|reserved| self.push_unless_full(value, reserved)) {
            Ok(Ok(())) => {
                self.pusher.record(matou_hooks::current_task, Location::caller());
                self.pushed.notify_one();
                Ok(())
            }
            Ok(Err(PushError(value))) => Err(TryPushError::Closed(value)),
            Err(value) => Err(TryPushError::Full(value)),
        }
    }

    /// Pops the oldest value, waiting for one if the queue is empty.
    ///
    /// # Errors
    ///
    /// Returns [`PopError`](crate::PopError) if the queue is empty and closed.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value: a value leaves the queue only in the poll that returns
    /// it. If the future was notified of a value, the next waiting pop is notified.
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
    #[doc(alias = "recv")]
    #[track_caller]
    pub fn pop(&self) -> Pop<'_, T> {
        Pop::new(self, Location::caller())
    }

    /// Pops the oldest value if there is one.
    ///
    /// # Errors
    ///
    /// Returns [`TryPopError::Empty`] if there is none, and [`TryPopError::Closed`] if in addition
    /// the queue is closed. The queue also counts as empty if each value is reserved for a waiting
    /// pop that was overtaken too often.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = matou_sync::Queue::unbounded();
    /// queue.try_push(1).unwrap();
    /// assert_eq!(queue.try_pop(), Ok(1));
    /// assert!(queue.try_pop().is_err());
    /// ```
    #[doc(alias = "try_recv")]
    #[track_caller]
    pub fn try_pop(&self) -> Result<T, TryPopError> {
        match self.pushed.as_newcomer(|reserved| self.pop_unless_empty(reserved)) {
            Some(Ok(value)) => {
                self.popper.record(matou_hooks::current_task, Location::caller());
                self.popped.notify_one();
                Ok(value)
            }
            Some(Err(PopError)) => Err(TryPopError::Closed),
            None => Err(TryPopError::Empty),
        }
    }

    /// Pushes a value, without a notification, or gives it back if no more than `reserved` slots
    /// are free.
    fn push_unless_full(&self, value: T, reserved: usize) -> Result<Result<(), PushError<T>>, T> {
        // fault: push-overtakes-starved-waiter
        if reserved > 0 && self.free_slots() <= reserved && !self.is_closed() {
            return Err(value);
        }
        match self.values.push(value) {
            Ok(()) => {
                self.note_peak();
                Ok(Ok(()))
            }
            Err(concurrent_queue::PushError::Full(value)) => Err(value),
            Err(concurrent_queue::PushError::Closed(value)) => Ok(Err(PushError(value))),
        }
    }

    /// Pops a value, without a notification, or returns `None` if there are no more than `reserved`
    /// values.
    fn pop_unless_empty(&self, reserved: usize) -> Option<Result<T, PopError>> {
        // fault: pop-overtakes-starved-waiter
        if reserved > 0 && self.len() <= reserved && !self.is_closed() {
            return None;
        }
        match self.values.pop() {
            Ok(value) => Some(Ok(value)),
            Err(concurrent_queue::PopError::Empty) => None,
            Err(concurrent_queue::PopError::Closed) => Some(Err(PopError)),
        }
    }

    fn free_slots(&self) -> usize {
        self.capacity().map_or(usize::MAX, |capacity| capacity.saturating_sub(self.len()))
    }

    /// Pushes a value, blocking the current thread until there is a free slot. Do not call it in a
    /// task: it blocks the executor.
    ///
    /// # Errors
    ///
    /// Returns the value if the queue is closed, as [`push`](Self::push) does.
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
        crate::block_on::block_on(self.push(value))
    }

    /// Pops the oldest value, blocking the current thread until there is one. Do not call it in a
    /// task: it blocks the executor.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue is empty and closed, as [`pop`](Self::pop) does.
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
        crate::block_on::block_on(self.pop())
    }

    /// Closes the queue. Returns `false` if it was closed already.
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
        let was_open = self.values.close();
        if was_open {
            self.pushed.notify_all();
            self.popped.notify_all();
            // fault: close-wakes-no-observer
            self.closing.notify_all();
        }
        was_open
    }

    /// Returns `true` if the queue is closed. It may still contain values.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Queue::<i32>::unbounded().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.values.is_closed()
    }

    /// Returns the number of values in the queue. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Queue::<i32>::unbounded().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns `true` if the queue contains no values. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(matou_sync::Queue::<i32>::bounded(1).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the largest possible number of values, or `None` if the queue is unbounded.
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
