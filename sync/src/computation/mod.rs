mod completer;
mod shared;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pub use self::completer::{Completer, Ended};
use self::shared::{CANCELLED, Shared};
use crate::error::polled_after_completion;
use crate::waiting::Place;

/// A value that is written once and can be awaited by any number of tasks, on any thread.
///
/// It is the reading side; a [`Completer`] is the writing side. Awaiting the computation itself
/// returns the value, as with a oneshot channel. Tasks that share it, by reference or in an `Arc`,
/// await [`wait`](Self::wait), which returns a reference to the value.
///
/// A computation ends in one of three ways: its completer returns a value, either side cancels it,
/// or its completer is dropped. In the last two cases awaiting it returns a [`ComputationError`],
/// so that no task waits forever. Dropping the computation cancels it.
///
/// # Cancel safety
///
/// Awaiting `&mut computation` and giving up loses nothing.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use matou_sync::Computation;
///
/// let (completer, computation) = Computation::create();
/// std::thread::spawn(move || completer.try_return("done"));
/// assert_eq!(block_on(computation), Ok("done"));
/// ```
///
/// Several tasks await the value:
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::{Computation, ComputationError};
///
/// let (completer, computation) = Computation::create();
/// let both = async { join!(computation.wait(), computation.wait()) };
/// assert_eq!(completer.try_return(7), Ok(()));
/// assert_eq!(block_on(both), (Ok(&7), Ok(&7)));
///
/// let (completer, computation) = Computation::<i32>::create();
/// drop(completer);
/// assert_eq!(block_on(computation), Err(ComputationError::Abandoned));
/// ```
///
/// Values of a type that is not `Sync` cannot be read on several threads:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::Computation::<std::cell::Cell<i32>>::create().1);
/// ```
#[doc(alias = "oneshot")]
#[doc(alias = "Receiver")]
#[doc(alias = "Future")]
#[must_use = "dropping a computation cancels it"]
pub struct Computation<T> {
    shared: Arc<Shared<T>>,
    place: Place,
    created_at: &'static Location<'static>,
    /// The value is read through this type, also by several threads if it is shared.
    value: PhantomData<T>,
}

/// The reason why a [`Computation`] has no value.
///
/// # Examples
///
/// ```
/// use matou_sync::{Computation, ComputationError};
///
/// let (_completer, computation) = Computation::<u8>::create();
/// computation.try_cancel();
/// assert_eq!(computation.peek(), Some(Err(ComputationError::Cancelled)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputationError {
    /// One of the sides cancelled it.
    Cancelled,
    /// The completer was dropped without a value.
    Abandoned,
}

impl fmt::Display for ComputationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the computation was cancelled",
            Self::Abandoned => "the completer of the computation was dropped without a value",
        })
    }
}

impl Error for ComputationError {}

impl<T> Computation<T> {
    /// Creates a computation and its completer.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_completer, computation) = matou_sync::Computation::<String>::create();
    /// assert!(computation.is_running());
    /// ```
    #[doc(alias = "channel")]
    #[doc(alias = "new")]
    #[track_caller]
    pub fn create() -> (Completer<T>, Computation<T>) {
        let shared = Arc::new(Shared::new());
        let computation = Computation {
            shared: Arc::clone(&shared),
            place: Place::new(),
            created_at: Location::caller(),
            value: PhantomData,
        };
        (Completer::new(shared), computation)
    }

    /// Waits for the value, which stays in the computation.
    ///
    /// # Errors
    ///
    /// Returns the reason if the computation ends without a value.
    ///
    /// # Panics
    ///
    /// The future panics if the value was taken out, by polling `&mut computation`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::create();
    /// completer.try_return(7).unwrap();
    /// assert_eq!(futures::executor::block_on(computation.wait()), Ok(&7));
    /// ```
    #[doc(alias = "await")]
    #[track_caller]
    pub fn wait(&self) -> ComputationWait<'_, T> {
        ComputationWait { computation: self, place: Place::new(), called_at: Location::caller() }
    }

    /// Returns the result if the computation has ended. `None` also if the value was taken out.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::create();
    /// assert_eq!(computation.peek(), None);
    /// completer.try_return(7).unwrap();
    /// assert_eq!(computation.peek(), Some(Ok(&7)));
    /// ```
    #[doc(alias = "try_recv")]
    pub fn peek(&self) -> Option<Result<&T, ComputationError>> {
        // SAFETY: only this side of a computation accesses the value once it is there, and an
        // exclusive borrow is needed for taking it out.
        unsafe { self.shared.result() }
    }

    /// Returns `true` until the computation has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::<u8>::create();
    /// drop(completer);
    /// assert!(!computation.is_running());
    /// ```
    pub fn is_running(&self) -> bool {
        !self.shared.has_ended()
    }

    /// Cancels the computation. Returns `false` if it has ended already.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::create();
    /// assert!(computation.try_cancel());
    /// assert_eq!(completer.try_return(7), Err(7));
    /// ```
    #[doc(alias = "close")]
    pub fn try_cancel(&self) -> bool {
        self.shared.end(CANCELLED)
    }
}

impl<T> Future for Computation<T> {
    type Output = Result<T, ComputationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(this.shared.poll_ended(&mut this.place, this.created_at, cx));
        // SAFETY: this side of the computation is borrowed exclusively, so there is no reference to
        // the value.
        let result = unsafe { this.shared.take() };
        let Some(result) = result else {
            polled_after_completion("`Computation`", this.created_at)
        };
        Poll::Ready(result)
    }
}

// The value is not pinned, but moved out.
impl<T> Unpin for Computation<T> {}

impl<T> Drop for Computation<T> {
    fn drop(&mut self) {
        self.place.leave(&self.shared.ended);
        if !self.shared.end(CANCELLED) {
            // The value, if there is one, is dropped now rather than with the completer.
            // SAFETY: this side of the computation is borrowed exclusively.
            drop(unsafe { self.shared.take() });
        }
    }
}

impl<T> fmt::Debug for Computation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computation")
            .field("is_running", &self.is_running())
            .field("created_at", &self.created_at.to_string())
            .finish_non_exhaustive()
    }
}

/// The future of [`Computation::wait`].
///
/// # Cancel safety
///
/// Dropping it loses nothing.
///
/// # Examples
///
/// ```
/// use matou_sync::{Computation, futures::ComputationWait};
///
/// let (completer, computation) = Computation::create();
/// completer.try_return(7).unwrap();
/// let wait: ComputationWait<'_, i32> = computation.wait();
/// assert_eq!(futures::executor::block_on(wait), Ok(&7));
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ComputationWait<'a, T> {
    computation: &'a Computation<T>,
    place: Place,
    called_at: &'static Location<'static>,
}

impl<'a, T> Future for ComputationWait<'a, T> {
    type Output = Result<&'a T, ComputationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { computation, place, called_at } = &mut *self;
        let computation: &'a Computation<T> = computation;
        ready!(computation.shared.poll_ended(place, called_at, cx));
        Poll::Ready(computation.peek().expect("the value of the `Computation` was taken out"))
    }
}

impl<T> Drop for ComputationWait<'_, T> {
    fn drop(&mut self) {
        self.place.leave(&self.computation.shared.ended);
    }
}

impl<T> fmt::Debug for ComputationWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputationWait")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.place.is_waiting())
            .finish_non_exhaustive()
    }
}
