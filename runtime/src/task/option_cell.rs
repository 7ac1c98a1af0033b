//! A cell for a value that is there or not.

use std::cell::Cell;
use std::fmt;

/// A `Cell<Option<T>>` that can be looked into.
///
/// To look is to take the value out and to put it back, of which the compiler leaves nothing but
/// the look. Whoever looks must therefore not come back to the same pocket meanwhile: no code of a
/// user's may run there, not even a drop.
pub(crate) struct OptionCell<T>(Cell<Option<T>>);

impl<T> OptionCell<T> {
    pub(crate) const fn none() -> OptionCell<T> {
        OptionCell(Cell::new(None))
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.peek(|value| value.is_some())
    }

    /// Puts a value in where none was, which needs no drop.
    #[inline]
    pub(crate) fn put(&self, value: T) {
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
    pub(crate) fn peek<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        self.update(|value| f(value.as_ref()))
    }

    #[inline]
    pub(crate) fn update<R>(&self, f: impl FnOnce(&mut Option<T>) -> R) -> R {
        let mut value = self.0.take();
        let result = f(&mut value);
        let nothing = self.0.replace(value);
        debug_assert!(nothing.is_none(), "nobody came here meanwhile");
        std::mem::forget(nothing);
        result
    }
}

impl<T: Clone> OptionCell<T> {
    pub(crate) fn get(&self) -> Option<T> {
        self.peek(|value| value.cloned())
    }
}

impl<T> fmt::Debug for OptionCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptionCell").field("full", &self.is_some()).finish()
    }
}
