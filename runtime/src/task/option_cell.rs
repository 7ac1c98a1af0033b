//! A cell for a value that may be absent.

use std::cell::Cell;
use std::fmt;

/// A `Cell<Option<T>>` whose value can be inspected in place.
///
/// [`peek`](OptionCell::peek) and [`update`](OptionCell::update) take the value out and put it
/// back, which compiles to a plain access. The closure must not access the same cell again, so it
/// must not run user code, not even a destructor.
pub(crate) struct OptionCell<T>(Cell<Option<T>>);

impl<T> OptionCell<T> {
    /// Creates a cell without a value.
    pub(crate) const fn none() -> OptionCell<T> {
        OptionCell(Cell::new(None))
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.peek(|value| value.is_some())
    }

    /// Stores a value in a cell that has none. This generates no code for dropping an old value.
    #[inline]
    pub(crate) fn put(&self, value: T) {
        let old = self.replace(Some(value));
        debug_assert!(old.is_none(), "the cell has no value");
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

    /// Calls `f` with a reference to the value.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        self.update(|value| f(value.as_ref()))
    }

    /// Calls `f` with a mutable reference to the content of the cell.
    #[inline]
    pub(crate) fn update<R>(&self, f: impl FnOnce(&mut Option<T>) -> R) -> R {
        let mut value = self.0.take();
        let result = f(&mut value);
        let nothing = self.0.replace(value);
        debug_assert!(nothing.is_none(), "the closure did not access the cell");
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
        f.debug_struct("OptionCell").field("is_some", &self.is_some()).finish()
    }
}
