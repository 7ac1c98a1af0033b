//! A cell for a value that is there or not.

use std::cell::Cell;
use std::fmt;

/// A `Cell<Option<T>>` that can be looked into.
///
/// To look is to take the value out and to put it back, of which the compiler leaves nothing but
/// the look. Whoever looks must therefore not come back to the same pocket meanwhile: no code of a
/// user's may run there, not even a drop.
pub(crate) struct Pocket<T>(Cell<Option<T>>);

impl<T> Pocket<T> {
    pub(crate) const fn empty() -> Pocket<T> {
        Pocket(Cell::new(None))
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.look(|value| value.is_some())
    }

    /// Puts a value in where none was, which needs no drop.
    #[inline]
    pub(crate) fn fill(&self, value: T) {
        let old = self.replace(Some(value));
        debug_assert!(old.is_none(), "the pocket was empty");
        std::mem::forget(old);
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        self.0.take()
    }

    #[inline]
    pub(crate) fn replace(&self, value: Option<T>) -> Option<T> {
        self.0.replace(value)
    }

    #[inline]
    pub(crate) fn look<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        self.alter(|value| f(value.as_ref()))
    }

    #[inline]
    pub(crate) fn alter<R>(&self, f: impl FnOnce(&mut Option<T>) -> R) -> R {
        let mut value = self.0.take();
        let result = f(&mut value);
        let nothing = self.0.replace(value);
        debug_assert!(nothing.is_none(), "nobody came here meanwhile");
        std::mem::forget(nothing);
        result
    }
}

impl<T: Clone> Pocket<T> {
    pub(crate) fn get(&self) -> Option<T> {
        self.look(|value| value.cloned())
    }
}

impl<T> fmt::Debug for Pocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pocket").field("full", &self.is_full()).finish()
    }
}
