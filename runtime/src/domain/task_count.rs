//! The number of a run's live tasks.

use std::cell::Cell;

use super::Domain;
use crate::task::TaskId;

/// How many tasks a domain has created, and how many have completed on it.
///
/// A task that is called on another domain is created here and completes there, so only the sum
/// over all domains is meaningful.
#[derive(Debug, Default)]
pub(super) struct TaskCount {
    created: Cell<u64>,
    /// The value of `created` when the current poll began.
    created_before_poll: Cell<u64>,
    completed: Cell<u64>,
    /// Whether the balance has changed since it was published. A tick without a new or completed
    /// task reads nothing else.
    changed: Cell<bool>,
}

impl TaskCount {
    /// Counts a new task and returns its number, from 1.
    #[inline]
    pub(super) fn add_created(&self) -> u64 {
        let count = self.created.get() + 1;
        self.created.set(count);
        self.changed.set(true);
        count
    }

    #[inline]
    pub(super) fn begin_poll(&self) {
        self.created_before_poll.set(self.created.get());
    }

    /// Returns whether this domain has created the task in the current poll.
    pub(super) fn is_of_this_poll(&self, id: TaskId) -> bool {
        id.count() > self.created_before_poll.get()
    }

    #[inline]
    pub(super) fn add_completed(&self) {
        self.completed.set(self.completed.get() + 1);
        self.changed.set(true);
    }

    /// Returns the difference. It can be negative, on a domain on which other domains spawn tasks.
    #[inline]
    fn balance(&self) -> isize {
        self.created.get().wrapping_sub(self.completed.get()) as isize
    }
}

impl Domain {
    /// Makes the domain's count visible to other threads.
    ///
    /// It is called in each tick, and before each message that spawns a task on another domain or
    /// reports a completion to one: the receiver of the message sees a count that includes it.
    #[inline]
    pub(crate) fn publish_task_count(&self) {
        if self.task_count.changed.take() {
            self.remote().set_task_balance(self.task_count.balance());
        }
    }

    /// Returns the number of tasks of the run that have not completed.
    pub(crate) fn live_tasks(&self) -> usize {
        self.publish_task_count();
        let balances = (0..self.run.domains()).map(|index| self.run.remote(index).task_balance());
        // The counts of running domains may be inconsistent with each other.
        usize::try_from(balances.sum::<isize>()).unwrap_or(0)
    }
}
