use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::{ABANDONED, CANCELLED, Shared};
use crate::waiting::Place;

/// The writing side of a [`Computation`](super::Computation). Dropping it ends the computation: its
/// readers get an error.
///
/// Tasks that compete for the result share it, by reference or in an `Arc`; the first one wins.
///
/// # Examples
///
/// ```
/// let (completer, computation) = matou_sync::Computation::create();
/// assert_eq!(completer.try_return(1), Ok(()));
/// assert_eq!(completer.try_return(2), Err(2));
/// assert_eq!(computation.peek(), Some(Ok(&1)));
/// ```
#[doc(alias = "Sender")]
pub struct Completer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Completer<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Ends the computation with a value.
    ///
    /// # Errors
    ///
    /// Returns the value if the computation has ended already.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::create();
    /// drop(computation);
    /// assert_eq!(completer.try_return(1), Err(1));
    /// ```
    #[doc(alias = "send")]
    pub fn try_return(&self, value: T) -> Result<(), T> {
        self.shared.set(value)
    }

    /// Cancels the computation. Returns `false` if it has ended already.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::<u8>::create();
    /// assert!(completer.try_cancel());
    /// assert!(futures::executor::block_on(computation).is_err());
    /// ```
    pub fn try_cancel(&self) -> bool {
        self.shared.end(CANCELLED)
    }

    /// Returns `true` until the computation has ended, also by a drop of its reading side.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::<u8>::create();
    /// assert!(completer.is_running());
    /// drop(computation);
    /// assert!(!completer.is_running());
    /// ```
    #[doc(alias = "is_closed")]
    pub fn is_running(&self) -> bool {
        !self.shared.has_ended()
    }

    /// Waits until the computation has ended, for example because no task wants its value any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let (completer, computation) = matou_sync::Computation::<u8>::create();
    /// drop(computation);
    /// futures::executor::block_on(completer.ended());
    /// ```
    #[doc(alias = "closed")]
    #[doc(alias = "cancelled")]
    #[track_caller]
    pub fn ended(&self) -> Ended<'_, T> {
        Ended { completer: self, place: Place::new(), called_at: Location::caller() }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        // fault: completer-leaves-readers-waiting
        self.shared.end(ABANDONED);
    }
}

impl<T> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

/// The future of [`Completer::ended`].
///
/// # Cancel safety
///
/// Dropping it loses nothing.
///
/// # Examples
///
/// ```
/// use matou_sync::{Computation, futures::Ended};
///
/// let (completer, computation) = Computation::<u8>::create();
/// let ended: Ended<'_, u8> = completer.ended();
/// drop(computation);
/// futures::executor::block_on(ended);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ended<'a, T> {
    completer: &'a Completer<T>,
    place: Place,
    called_at: &'static Location<'static>,
}

impl<T> Future for Ended<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { completer, place, called_at } = &mut *self;
        completer.shared.poll_ended(place, called_at, cx)
    }
}

impl<T> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        self.place.leave(&self.completer.shared.ended);
    }
}

impl<T> fmt::Debug for Ended<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.place.is_waiting())
            .finish_non_exhaustive()
    }
}
