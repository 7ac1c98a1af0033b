mod acquire;
mod permit;
pub(crate) mod raw;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use self::acquire::{Acquire, AcquireArc, AcquireFrom};
pub use self::permit::{OwnedSemaphorePermit, Permit, SemaphorePermit};
use self::raw::{PERMITS_MAX, RawSemaphore};
use crate::error::TryAcquireError;
use crate::primitives::const_fn;

/// A number of permits that tasks acquire and return, for example to limit how many of them do
/// something at the same time.
///
/// # Fairness
///
/// Permits are acquired in the order in which tasks began to wait. A large request is not starved
/// by small ones: while it waits, those behind it and newcomers wait as well, even if there are
/// enough permits for them. `try_acquire` fails in that case.
///
/// Under `matou-runtime` this does not hold for a request that is kept without being polled (see
/// [`Mutex`](crate::Mutex#futures-that-are-kept)). With each permit that is returned and each
/// newcomer that has to wait, its task is woken once, and if it does not poll the request then,
/// those behind it acquire the permits. The request keeps its place for when it is polled again.
/// Under other runtimes the requests behind it wait until it is polled or dropped.
///
/// # Closing
///
/// After [`close`](Self::close) no permit can be acquired, and waiting requests return an error.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, future::join_all};
/// use matou_sync::Semaphore;
///
/// static CONNECTIONS: Semaphore = Semaphore::new(2);
///
/// async fn fetch(page: u32) -> u32 {
///     let _permit = CONNECTIONS.acquire().await.unwrap();
///     page
/// }
///
/// assert_eq!(block_on(join_all((0..5).map(fetch))), [0, 1, 2, 3, 4]);
/// assert_eq!(CONNECTIONS.available_permits(), 2);
/// ```
pub struct Semaphore {
    raw: RawSemaphore,
}

impl Semaphore {
    /// The largest number of permits.
    pub const MAX_PERMITS: usize = PERMITS_MAX;

    const_fn! {
        /// Creates a semaphore with that many permits.
        ///
        /// # Panics
        ///
        /// Panics if `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        ///
        /// # Examples
        ///
        /// ```
        /// static UPLOADS: matou_sync::Semaphore = matou_sync::Semaphore::new(4);
        /// assert_eq!(UPLOADS.available_permits(), 4);
        /// ```
        pub fn new(permits: usize) -> Self {
            assert!(permits <= Self::MAX_PERMITS, "too many permits");
            Self { raw: RawSemaphore::new(permits) }
        }
    }

    /// Acquires one permit, waiting until there is one and no other task waits for it.
    ///
    /// # Errors
    ///
    /// Returns [`AcquireError`](crate::AcquireError) if the semaphore is closed, also if it is
    /// closed during the wait.
    ///
    /// # Panics
    ///
    /// The future panics if 2^32 - 1 tasks wait already, or if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but its place in the line. Permits that it was offered go
    /// to the next waiter.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let semaphore = matou_sync::Semaphore::new(1);
    /// let permit = semaphore.acquire().await.unwrap();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// # drop(permit);
    /// # });
    /// ```
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_> {
        AcquireFrom::new(self, 1, Location::caller())
    }

    /// Acquires several permits at once. As [`acquire`](Self::acquire) otherwise.
    ///
    /// A request for more permits than there will ever be waits until it is dropped, and keeps the
    /// tasks behind it waiting.
    ///
    /// # Errors
    ///
    /// Returns [`AcquireError`](crate::AcquireError) if the semaphore is closed.
    ///
    /// # Panics
    ///
    /// Panics if `amount` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Cancel safety
    ///
    /// As for [`acquire`](Self::acquire): it holds no permit until it has all of them.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let memory = matou_sync::Semaphore::new(64 << 20);
    /// let buffer = memory.acquire_many(1 << 20).await.unwrap();
    /// assert_eq!(memory.available_permits(), 63 << 20);
    /// # drop(buffer);
    /// # });
    /// ```
    #[track_caller]
    pub fn acquire_many(&self, amount: usize) -> Acquire<'_> {
        AcquireFrom::new(self, checked(amount), Location::caller())
    }

    /// Acquires one permit for a task that outlives the caller.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Arc::new(matou_sync::Semaphore::new(1));
    /// let permit = semaphore.acquire_arc().await.unwrap();
    /// std::thread::spawn(move || drop(permit)).join().unwrap();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # });
    /// ```
    #[doc(alias = "acquire_owned")]
    #[track_caller]
    pub fn acquire_arc(self: &Arc<Self>) -> AcquireArc {
        AcquireFrom::new(Arc::clone(self), 1, Location::caller())
    }

    /// Acquires several permits for a task that outlives the caller.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let semaphore = std::sync::Arc::new(matou_sync::Semaphore::new(3));
    /// assert_eq!(semaphore.acquire_many_arc(2).await.unwrap().permits(), 2);
    /// # });
    /// ```
    #[doc(alias = "acquire_many_owned")]
    #[track_caller]
    pub fn acquire_many_arc(self: &Arc<Self>, amount: usize) -> AcquireArc {
        AcquireFrom::new(Arc::clone(self), checked(amount), Location::caller())
    }

    /// Acquires one permit if that is possible at once.
    ///
    /// # Errors
    ///
    /// Returns [`TryAcquireError`] if there is no permit, if other tasks wait, or if the semaphore
    /// is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire().unwrap();
    /// assert!(semaphore.try_acquire().is_err());
    /// # drop(permit);
    /// ```
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Acquires several permits if that is possible at once.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(2);
    /// assert!(semaphore.try_acquire_many(3).is_err());
    /// assert!(semaphore.try_acquire_many(2).is_ok());
    /// ```
    pub fn try_acquire_many(&self, amount: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.raw.try_acquire(amount)?;
        Ok(Permit::new(self, amount))
    }

    /// Acquires several permits if that is possible at once, for a task that outlives the caller.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = std::sync::Arc::new(matou_sync::Semaphore::new(1));
    /// assert_eq!(semaphore.try_acquire_many_arc(1).unwrap().permits(), 1);
    /// ```
    #[doc(alias = "try_acquire_owned")]
    #[doc(alias = "try_acquire_many_owned")]
    pub fn try_acquire_many_arc(
        self: &Arc<Self>,
        amount: usize,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.raw.try_acquire(amount)?;
        Ok(Permit::new(Arc::clone(self), amount))
    }

    /// Adds permits.
    ///
    /// # Panics
    ///
    /// Panics if more than [`MAX_PERMITS`](Self::MAX_PERMITS) would be available.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    #[doc(alias = "release")]
    #[track_caller]
    pub fn add_permits(&self, amount: usize) {
        let is_possible = amount <= Self::MAX_PERMITS - self.available_permits();
        assert!(is_possible, "a semaphore has at most `Semaphore::MAX_PERMITS` permits");
        self.raw.release(amount);
    }

    /// Takes up to `amount` permits away, of those that are available. Returns their number.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(2);
    /// assert_eq!(semaphore.forget_permits(3), 2);
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    pub fn forget_permits(&self, amount: usize) -> usize {
        self.raw.forget(amount)
    }

    /// Returns the number of permits that are available. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Semaphore::new(3).available_permits(), 3);
    /// ```
    pub fn available_permits(&self) -> usize {
        self.raw.available()
    }

    /// Returns the number of waiters that were offered nothing. A snapshot for reports.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Semaphore::new(3).waiters(), 0);
    /// ```
    pub fn waiters(&self) -> usize {
        self.raw.waiters()
    }

    /// Closes the semaphore, which ends all waits. Returns `false` if it was closed already.
    ///
    /// Permits that are held can still be returned.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(1);
    /// assert!(semaphore.close());
    /// assert_eq!(semaphore.try_acquire().unwrap_err(), matou_sync::TryAcquireError::Closed);
    /// ```
    pub fn close(&self) -> bool {
        self.raw.close()
    }

    /// Returns `true` if the semaphore is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Semaphore::new(1).is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }
}

#[track_caller]
fn checked(amount: usize) -> usize {
    assert!(amount <= PERMITS_MAX, "a semaphore has at most `Semaphore::MAX_PERMITS` permits");
    amount
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available_permits())
            .field("waiters", &self.waiters())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}
