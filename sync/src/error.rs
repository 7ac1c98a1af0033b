use std::error::Error;
use std::fmt;
use std::panic::Location;

/// The error of [`Queue::push`](crate::Queue::push): the queue is closed. Contains the value.
///
/// # Examples
///
/// ```
/// use matou_sync::{PushError, Queue};
///
/// let queue = Queue::unbounded();
/// queue.close();
/// let PushError(value) = futures::executor::block_on(queue.push(7)).unwrap_err();
/// assert_eq!(value, 7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PushError<T>(pub T);

/// The error of [`Queue::try_push`](crate::Queue::try_push). Contains the value.
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, TryPushError};
///
/// let queue = Queue::bounded(1);
/// queue.try_push('a').unwrap();
/// assert_eq!(queue.try_push('b'), Err(TryPushError::Full('b')));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPushError<T> {
    /// The queue is full.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

impl<T> TryPushError<T> {
    /// Returns the value that was not pushed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::TryPushError::Full(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

/// The error of [`Queue::pop`](crate::Queue::pop): the queue is closed and empty.
///
/// # Examples
///
/// ```
/// use matou_sync::{PopError, Queue};
///
/// let queue = Queue::<i32>::unbounded();
/// queue.close();
/// assert_eq!(futures::executor::block_on(queue.pop()), Err(PopError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopError;

/// The error of [`Queue::try_pop`](crate::Queue::try_pop).
///
/// # Examples
///
/// ```
/// use matou_sync::{Queue, TryPopError};
///
/// let queue = Queue::<i32>::unbounded();
/// assert_eq!(queue.try_pop(), Err(TryPopError::Empty));
/// queue.close();
/// assert_eq!(queue.try_pop(), Err(TryPopError::Closed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryPopError {
    /// The queue is empty.
    Empty,
    /// The queue is closed and empty.
    Closed,
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushError(..)")
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to push: the queue is closed")
    }
}

impl<T> Error for PushError<T> {}

impl<T> fmt::Debug for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "failed to push: the queue is full",
            Self::Closed(_) => "failed to push: the queue is closed",
        })
    }
}

impl<T> Error for TryPushError<T> {}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to pop: the queue is closed and empty")
    }
}

impl Error for PopError {}

impl fmt::Display for TryPopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "failed to pop: the queue is empty",
            Self::Closed => "failed to pop: the queue is closed and empty",
        })
    }
}

impl Error for TryPopError {}

/// The error of [`Semaphore::acquire`](crate::Semaphore::acquire): the semaphore is closed.
///
/// # Examples
///
/// ```
/// use matou_sync::{AcquireError, Semaphore};
///
/// let semaphore = Semaphore::new(0);
/// semaphore.close();
/// assert_eq!(futures::executor::block_on(semaphore.acquire()).unwrap_err(), AcquireError);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireError;

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to acquire permits: the semaphore is closed")
    }
}

impl Error for AcquireError {}

/// The error of [`Semaphore::try_acquire`](crate::Semaphore::try_acquire).
///
/// # Examples
///
/// ```
/// use matou_sync::{Semaphore, TryAcquireError};
///
/// let semaphore = Semaphore::new(0);
/// assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryAcquireError {
    /// There are not enough permits, or other tasks wait for them.
    NoPermits,
    /// The semaphore is closed.
    Closed,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPermits => "failed to acquire permits: not enough are available",
            Self::Closed => "failed to acquire permits: the semaphore is closed",
        })
    }
}

impl Error for TryAcquireError {}

/// Panics because a future is polled after completion. The poll may come from a combinator of
/// another crate, so the message names the line that created the future.
#[cold]
#[track_caller]
pub(crate) fn polled_after_completion(future: &str, created_at: &Location<'_>) -> ! {
    panic!("{future} polled after completion; created at {created_at}")
}
