//! The context of the running code that affects the tasks which it spawns, drops or cancels.

use std::cell::{Cell, RefCell};
use std::panic::Location;

use crate::task::{CancelReason, Cancelled, NodeKey, TaskDeadline};

/// The dynamic context of cancellation on a domain.
#[derive(Default)]
pub(super) struct CancelContext {
    /// The deadline of the running code, inherited by the children that it spawns.
    deadline: Cell<Option<TaskDeadline>>,
    /// The most recent cancellation: a task that cancels many children for one reason shares it
    /// among them.
    newest: RefCell<Option<Cancelled>>,
    /// The line of the innermost combinator that is dropping a branch right now.
    abandoning: Cell<Option<&'static Location<'static>>>,
    /// The children that are being given up right now, if a combinator waits for their ends.
    given_up: RefCell<Option<Vec<NodeKey>>>,
}

impl CancelContext {
    #[inline]
    pub(super) fn deadline(&self) -> Option<TaskDeadline> {
        self.deadline.get()
    }

    /// Sets the deadline of the running code and returns the previous one.
    #[inline]
    pub(super) fn replace_deadline(&self, deadline: Option<TaskDeadline>) -> Option<TaskDeadline> {
        self.deadline.replace(deadline)
    }

    pub(super) fn abandoning(&self) -> Option<&'static Location<'static>> {
        self.abandoning.get()
    }

    /// Sets the line of the combinator that drops a branch and returns the previous one.
    pub(super) fn replace_abandoning(
        &self,
        at: Option<&'static Location<'static>>,
    ) -> Option<&'static Location<'static>> {
        self.abandoning.replace(at)
    }

    /// Records that a child of the current task is given up.
    pub(super) fn note_given_up(&self, child: NodeKey) {
        if let Some(given_up) = &mut *self.given_up.borrow_mut() {
            given_up.push(child);
        }
    }

    /// Sets the list of the children that are given up and returns the previous one.
    pub(super) fn replace_given_up(&self, list: Option<Vec<NodeKey>>) -> Option<Vec<NodeKey>> {
        self.given_up.replace(list)
    }

    /// Returns a cancellation for `reason`: the most recent one if it had the same reason.
    pub(super) fn cancelled(&self, reason: CancelReason) -> Cancelled {
        let mut newest = self.newest.borrow_mut();
        match newest.as_ref().filter(|newest| newest.matches(&reason)) {
            Some(newest) => newest.clone(),
            None => newest.insert(Cancelled::new(reason)).clone(),
        }
    }
}
