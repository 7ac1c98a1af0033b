use std::ops::{Index, IndexMut};

/// The direction of an operation on a source of I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Receiving data, or accepting connections.
    Read,
    /// Sending data, or connecting.
    Write,
}

/// A value for each direction.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct PerDirection<T> {
    read: T,
    write: T,
}

impl<T> Index<Direction> for PerDirection<T> {
    type Output = T;

    #[inline]
    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }
}

impl<T> IndexMut<Direction> for PerDirection<T> {
    #[inline]
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}
