use std::fmt;
use std::hash::Hasher;

/// The number of bits for the count of tasks. The bits above are the domain that created the task.
const COUNT_BITS: u32 = 48;

/// The id of a task, unique within its run.
///
/// Each domain numbers the tasks that it creates, and no number is used twice in a run. So a
/// program that makes the same choices creates the same ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

impl TaskId {
    /// The task that runs `main`.
    pub(crate) const ROOT: TaskId = TaskId(1);

    /// No task: code that runs on a domain outside any task.
    pub(crate) const NONE: TaskId = TaskId(0);

    pub(crate) fn new(domain: usize, count: u64) -> TaskId {
        debug_assert!(count < 1 << COUNT_BITS);
        TaskId((domain as u64) << COUNT_BITS | count)
    }

    /// Restores an id from [`as_u64`](TaskId::as_u64).
    pub(crate) const fn from_u64(id: u64) -> TaskId {
        TaskId(id)
    }

    /// Returns the number of the task among those that its domain has created.
    pub(crate) fn count(self) -> u64 {
        self.0 & ((1 << COUNT_BITS) - 1)
    }

    /// Returns the id as one number, unique within the run.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    /// Writes `#7` for a task created on domain 0 and `#2.7` for one created on domain 2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        match self.0 >> COUNT_BITS {
            0 => write!(f, "#{count}"),
            domain => write!(f, "#{domain}.{count}"),
        }
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A hasher for ids: one multiplication that spreads their low bits. No attacker chooses ids.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("an id is one number");
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio maps neighbours far apart (Knuth, volume 3, 6.4).
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}
