//! The two directions of a descriptor, and who waits for each.

use std::ops::{Index, IndexMut};
use std::task::Waker;

/// What is done with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Waiting for data or for a connection.
    Read,
    /// Waiting for room, or for a connection to be made.
    Write,
}

/// Something for each direction.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Both<T> {
    read: T,
    write: T,
}

impl<T> Index<Direction> for Both<T> {
    type Output = T;

    #[inline]
    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    #[inline]
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// Who waits for one direction of a descriptor.
#[derive(Default)]
pub(super) struct Side {
    /// One task as a rule.
    waker: Option<Waker>,
    /// More of them, when one task's combinators wait with wakers of their own. Boxed, since that
    /// is rare.
    others: Option<Box<Others>>,
}

#[derive(Default)]
struct Others {
    wakers: Vec<Waker>,
    /// How often there were as many as are kept, since the last event.
    overflows: u32,
}

/// How many further wakers a direction keeps before it asks who still waits.
///
/// A combinator that polls with a new waker each time leaves the old ones behind, and a quiet
/// descriptor would keep them all. So the full list is woken: who still waits comes back. The
/// list then may be twice as long, up to 64 times, so that many who really wait are not asked
/// again and again.
const OTHERS_MAX: usize = 16;
const OVERFLOWS_MAX: u32 = 6;

impl Side {
    /// Registers the waker of the first who waits.
    #[inline]
    pub(super) fn register_first(&mut self, waker: &Waker) {
        debug_assert!(self.is_free(), "nobody else waits");
        self.waker = Some(waker.clone());
    }

    /// Registers a waker. Those that are to be asked whether they still wait go to `stale`.
    pub(super) fn register(&mut self, waker: &Waker, stale: &mut Vec<Waker>) {
        let known = |known: &Waker| known.will_wake(waker);
        if self.is_free() {
            self.waker = Some(waker.clone());
            return;
        }
        let others = self.others.get_or_insert_default();
        if self.waker.as_ref().is_some_and(known) || others.wakers.iter().any(known) {
            return;
        }
        if others.wakers.len() == OTHERS_MAX << others.overflows {
            others.overflows = (others.overflows + 1).min(OVERFLOWS_MAX);
            stale.append(&mut others.wakers);
            stale.extend(self.waker.replace(waker.clone()));
        } else {
            others.wakers.push(waker.clone());
        }
    }

    /// Whether nobody waits.
    #[inline]
    fn is_free(&self) -> bool {
        self.waker.is_none() && self.others.as_ref().is_none_or(|others| others.wakers.is_empty())
    }

    /// Takes out who waits.
    pub(super) fn take(&mut self, woken: &mut Vec<Waker>) {
        if let Some(waker) = self.waker.take() {
            woken.push(waker);
        }
        if let Some(others) = self.others.take() {
            woken.extend(others.wakers);
        }
    }
}
