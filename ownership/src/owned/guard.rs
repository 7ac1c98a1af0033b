use std::fmt;
use std::ops::{Deref, DerefMut};

use super::inner::Borrow;

/// A shared borrow of the value of an [`Owned`](crate::Owned). Returned by
/// [`Owned::get`](crate::Owned::get).
///
/// If the owner ends on another thread while the guard is alive, the finalizer runs when the guard
/// is dropped, and the owner's report lists it as panicked.
pub struct OwnedRef<'a, T: Send + 'static> {
    pub(super) borrow: Borrow<'a, T>,
}

impl<T: Send + 'static> Deref for OwnedRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.borrow.value()
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for OwnedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutable borrow of the value of an [`Owned`](crate::Owned). Returned by
/// [`Owned::get_mut`](crate::Owned::get_mut); see [`OwnedRef`].
pub struct OwnedMut<'a, T: Send + 'static> {
    pub(super) borrow: Borrow<'a, T>,
}

impl<T: Send + 'static> Deref for OwnedMut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.borrow.value()
    }
}

impl<T: Send + 'static> DerefMut for OwnedMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.borrow.value_mut()
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for OwnedMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
