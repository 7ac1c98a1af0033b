//! The poll that a domain is in, as other threads see it.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

use crate::task::TaskId;

/// The number and the task of the poll that a domain is in. Only the domain writes it, by stores
/// without locked instructions; any thread may read it.
///
/// It has a cache line of its own: the message queue next to it is written by other threads.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct CurrentPoll {
    /// Counts the polls of the domain.
    number: AtomicU64,
    /// [`TaskId::NONE`] between the polls of two ticks.
    task: AtomicU64,
    spawned_at: AtomicPtr<Location<'static>>,
}

/// A poll that lasts, or lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) task: TaskId,
    pub(super) spawned_at: &'static Location<'static>,
}

impl CurrentPoll {
    pub(super) fn new() -> CurrentPoll {
        CurrentPoll {
            number: AtomicU64::new(0),
            task: AtomicU64::new(TaskId::NONE.as_u64()),
            spawned_at: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Records that the domain polls a task.
    #[inline]
    pub(super) fn begin(&self, task: TaskId, spawned_at: &'static Location<'static>) {
        let number = self.number.load(Ordering::Relaxed).wrapping_add(1);
        self.task.store(task.as_u64(), Ordering::Relaxed);
        self.spawned_at.store(ptr::from_ref(spawned_at).cast_mut(), Ordering::Relaxed);
        // Last: a reader that finds this number finds its task too, or that of a later poll.
        self.number.store(number, Ordering::Release);
    }

    /// Records that the domain does something else than polling tasks.
    #[inline]
    pub(super) fn end(&self) {
        self.task.store(TaskId::NONE.as_u64(), Ordering::Relaxed);
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Returns the poll that the domain is in, unless it is in none or begins another one during
    /// the call.
    pub(super) fn read(&self) -> Option<Poll> {
        let number = self.number.load(Ordering::Acquire);
        let task = TaskId::from_u64(self.task.load(Ordering::Relaxed));
        let spawned_at = self.spawned_at.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_same = self.number.load(Ordering::Relaxed) == number && task != TaskId::NONE;
        // SAFETY: only `begin` stores pointers, and it stores references that live forever.
        let spawned_at = unsafe { spawned_at.as_ref() }.filter(|_| is_same)?;
        Some(Poll { number, task, spawned_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_known_until_it_ends() {
        let (current, here) = (CurrentPoll::new(), Location::caller());
        assert_eq!(current.read(), None);
        for number in 1..4 {
            let task = TaskId::from_u64(10 + number);
            current.begin(task, here);
            assert_eq!(current.read(), Some(Poll { number, task, spawned_at: here }));
        }
        current.end();
        assert_eq!((current.read(), current.number()), (None, 3));
    }
}
