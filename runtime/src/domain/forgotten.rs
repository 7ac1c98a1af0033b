//! Forgotten children (R1): promises that were dropped unpolled in the poll that made them, or in
//! the last poll of a parent that returned.
//!
//! Whether such a drop is reported is known when the poll ends, so the drops of the current poll
//! are collected here. They are counted for each line, and the children are freed as usual: a
//! program may drop any number of promises.

use std::cell::{Cell, RefCell};

use super::{Domain, Node};
use crate::diagnostic::{ChildInfo, DroppedWhen, Finding};
use crate::task::{HandleState, NIL};

/// The children of the current task whose promises were dropped unpolled in this poll.
pub(super) struct ForgottenChildren {
    /// Whether the list is empty. Read in each poll.
    is_empty: Cell<bool>,
    dropped: RefCell<Vec<Dropped>>,
}

/// Promises made at one line.
struct Dropped {
    when: DroppedWhen,
    /// The first child.
    child: ChildInfo,
    count: usize,
}

/// Whether the task's body has returned a value in this poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastPoll {
    Yes,
    No,
}

impl ForgottenChildren {
    pub(super) fn new() -> ForgottenChildren {
        ForgottenChildren { is_empty: Cell::new(true), dropped: RefCell::default() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty.get()
    }

    fn add(&self, when: DroppedWhen, child: &Node) {
        self.is_empty.set(false);
        let spawned_at = child.spawned_at.get();
        let mut dropped = self.dropped.borrow_mut();
        // The newest entry first: a loop drops promises of one line.
        let is_same =
            |known: &&mut Dropped| known.when == when && known.child.spawned_at == spawned_at;
        match dropped.iter_mut().rev().find(is_same) {
            Some(known) => known.count += 1,
            None => dropped.push(Dropped { when, child: ChildInfo::of(child), count: 1 }),
        }
    }

    fn take(&self) -> Vec<Dropped> {
        self.is_empty.set(true);
        self.dropped.take()
    }

    /// Forgets the drops: the task has ended abnormally.
    #[inline]
    pub(super) fn clear(&self) {
        if !self.is_empty() {
            drop(self.take());
        }
    }
}

impl Domain {
    /// Records the drop of an unpolled promise, or of a group that contains a child, by the child's
    /// parent.
    pub(super) fn note_forgotten(&self, child: &Node) {
        let current = self.scheduler.current();
        let is_own = current != NIL && child.parent.get().local() == Some(current);
        if !is_own || child.cancel.is_some() {
            return;
        }
        let when = match child.handle_state.get() {
            // fault: early-drop-ignored
            HandleState::Held if self.task_count.is_of_this_poll(child.id.get()) => {
                DroppedWhen::AtOnce
            }
            HandleState::Held | HandleState::InGroup { .. } => DroppedWhen::AtEnd,
            // A promise that was polled is given up.
            _ => return,
        };
        self.forgotten.add(when, child);
    }

    /// Reports what the current task has forgotten in this poll.
    #[inline]
    pub(super) fn report_forgotten(&self, last_poll: LastPoll) {
        if !self.forgotten.is_empty() {
            self.report_forgotten_slow(last_poll);
        }
    }

    #[cold]
    fn report_forgotten_slow(&self, last_poll: LastPoll) {
        for Dropped { when, child, count } in self.forgotten.take() {
            // fault: drop-before-the-end-reported
            if when == DroppedWhen::AtOnce || last_poll == LastPoll::Yes {
                let parent = self.current_info();
                self.report_finding(Finding::Forgotten { child, parent, count, when });
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::{Builder, MainError, spawn, yield_now};

    /// Returns the number of nodes in use on the current domain.
    fn nodes() -> usize {
        Domain::with("a test", |domain| domain.tree.slots().count())
    }

    /// Fewer where each access to memory is checked, which takes long.
    const ROUNDS: usize = if option_env!("MATOU_TEST_FEWER").is_some() { 10 } else { 500 };

    #[test]
    fn a_forgotten_child_leaves_no_node_behind() {
        let run = Builder::new().domains(1).on_report(|_| ()).run(async {
            for _ in 0..ROUNDS {
                for _ in 0..1_000 {
                    drop(spawn(pending::<()>()));
                }
                // The children are polled, and are freed when they have ended.
                while nodes() > 1 {
                    yield_now().await;
                }
            }
            Ok::<_, MainError>(())
        });
        run.unwrap();
    }

    #[test]
    fn the_drops_of_a_poll_take_one_entry_for_each_line() {
        let run = Builder::new().domains(1).on_report(|_| ()).run(async {
            for _ in 0..1_000 {
                drop(spawn(pending::<()>()));
            }
            let entries = Domain::with("a test", |domain| domain.forgotten.dropped.borrow().len());
            assert_eq!(entries, 1);
            Ok::<_, MainError>(())
        });
        run.unwrap();
    }
}
