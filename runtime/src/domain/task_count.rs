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
    /// The tasks that other domains have called here, minus those that were called elsewhere.
    moved: Cell<isize>,
    /// How many of those were called here because of this domain's load.
    received: Cell<u32>,
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

    /// Counts a task that was created on another domain and runs here.
    pub(super) fn add_arrived(&self, by_load: bool) {
        self.moved.set(self.moved.get() + 1);
        self.received.set(self.received.get().wrapping_add(u32::from(by_load)));
        self.changed.set(true);
    }

    /// Counts a task that was created here and runs on another domain.
    pub(super) fn add_sent(&self) {
        self.moved.set(self.moved.get() - 1);
    }

    /// Returns the number of tasks that live on this domain.
    fn living(&self) -> u32 {
        u32::try_from(self.balance() + self.moved.get()).unwrap_or(0)
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
            self.remote().set_living(self.task_count.living(), self.task_count.received.get());
        }
    }

    /// Returns how many tasks live on a domain, as far as it has published that; `None` if there is
    /// no such domain.
    pub(crate) fn load(&self, domain: usize) -> Option<usize> {
        if domain >= self.run.domains() {
            return None;
        }
        self.publish_task_count();
        Some(self.run.remote(domain).living() as usize)
    }

    /// Returns the number of tasks of the run that have not completed.
    pub(crate) fn live_tasks(&self) -> usize {
        self.publish_task_count();
        let balances = (0..self.run.domains()).map(|index| self.run.remote(index).task_balance());
        // The counts of running domains may be inconsistent with each other.
        usize::try_from(balances.sum::<isize>()).unwrap_or(0)
    }
}
