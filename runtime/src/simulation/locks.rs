use std::collections::HashMap;
use std::panic::Location;

use crate::task::TaskId;

/// The locks of a simulated run, by the keys that their library identifies them with.
#[derive(Debug, Default)]
pub(crate) struct LockTable {
    locks: HashMap<usize, Lock>,
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    /// The locks are numbered in the order of their first use, so that reports need no addresses.
    number: u64,
    holder: Option<LockHolder>,
}

/// The task that holds a lock, and the line that acquired it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockHolder {
    pub(crate) task: TaskId,
    pub(crate) acquired_at: &'static Location<'static>,
}

impl LockTable {
    fn lock(&mut self, key: usize) -> &mut Lock {
        let number = self.locks.len() as u64 + 1;
        self.locks.entry(key).or_insert(Lock { number, holder: None })
    }

    /// Returns the number of a lock.
    pub(crate) fn number(&mut self, key: usize) -> u64 {
        self.lock(key).number
    }

    pub(crate) fn set_holder(&mut self, key: usize, holder: Option<LockHolder>) {
        self.lock(key).holder = holder;
    }

    /// Returns the holder of the lock with that number.
    pub(crate) fn holder(&self, number: u64) -> Option<LockHolder> {
        self.locks.values().find(|lock| lock.number == number)?.holder
    }
}
