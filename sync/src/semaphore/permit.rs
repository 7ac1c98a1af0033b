use std::fmt;
use std::mem;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

use super::Semaphore;

/// A [`Permit`] that borrows its semaphore.
pub type SemaphorePermit<'a> = Permit<&'a Semaphore>;

/// A [`Permit`] that owns a share of its semaphore, for a task that outlives the caller.
pub type OwnedSemaphorePermit = Permit<Arc<Semaphore>>;

/// One or more permits of a [`Semaphore`]. Dropping it returns them.
///
/// `S` is `&Semaphore` or `Arc<Semaphore>`.
///
/// # Examples
///
/// ```
/// use matou_sync::{Semaphore, SemaphorePermit};
///
/// let semaphore = Semaphore::new(3);
/// let permit: SemaphorePermit<'_> = semaphore.try_acquire_many(2).unwrap();
/// assert_eq!((permit.permits(), semaphore.available_permits()), (2, 1));
/// drop(permit);
/// assert_eq!(semaphore.available_permits(), 3);
/// ```
#[must_use = "if unused the permits are returned immediately"]
pub struct Permit<S: Deref<Target = Semaphore>> {
    semaphore: S,
    amount: usize,
}

impl<S: Deref<Target = Semaphore>> Permit<S> {
    /// The caller must have taken the permits.
    pub(super) fn new(semaphore: S, amount: usize) -> Self {
        Self { semaphore, amount }
    }

    /// Returns the number of permits.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(1);
    /// assert_eq!(semaphore.try_acquire().unwrap().permits(), 1);
    /// ```
    #[doc(alias = "num_permits")]
    pub fn permits(&self) -> usize {
        self.amount
    }

    /// Drops the permits without returning them: the semaphore has fewer from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(2);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget(mut self) {
        self.amount = 0;
    }

    /// Adds the permits of another guard to this one.
    ///
    /// # Panics
    ///
    /// Panics if the guards are of different semaphores. The permits of both are then returned.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(2);
    /// let mut permit = semaphore.try_acquire().unwrap();
    /// permit.merge(semaphore.try_acquire().unwrap());
    /// assert_eq!(permit.permits(), 2);
    /// ```
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        let is_same = ptr::eq(&raw const *self.semaphore, &raw const *other.semaphore);
        assert!(is_same, "merged permits of two semaphores");
        self.amount += mem::take(&mut other.amount);
    }

    /// Moves `amount` permits into another guard. `None` if there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = matou_sync::Semaphore::new(3);
    /// let mut permit = semaphore.try_acquire_many(3).unwrap();
    /// drop(permit.split(2));
    /// assert_eq!((permit.permits(), semaphore.available_permits()), (1, 2));
    /// assert!(permit.split(2).is_none());
    /// ```
    pub fn split(&mut self, amount: usize) -> Option<Self>
    where
        S: Clone,
    {
        let rest = self.amount.checked_sub(amount)?;
        let semaphore = self.semaphore.clone();
        self.amount = rest;
        Some(Self { semaphore, amount })
    }
}

impl<S: Deref<Target = Semaphore>> Drop for Permit<S> {
    #[inline]
    fn drop(&mut self) {
        if self.amount > 0 {
            self.semaphore.raw.release(self.amount);
        }
    }
}

impl<S: Deref<Target = Semaphore>> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.amount).finish_non_exhaustive()
    }
}
