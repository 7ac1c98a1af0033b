//! Cancellation: its reasons, and how a request reaches a task.
//!
//! A request sets the task's `cancel` cell and wakes the task, which notices it at its next poll
//! and then cancels its own children. So a cancellation travels down the tree one level at a time,
//! and children end before their parents. A child on another domain is cancelled by a message. A
//! shielded child is not cancelled but informed, see `shield`.

use std::borrow::Cow;
use std::panic::Location;

use super::{Domain, Message};
use crate::task::{
    CancelAction, CancelKind, CancelReason, Cancelled, HandleState, NIL, NodeKey, Slot,
};

impl Domain {
    /// Returns a cancellation that the current task requests at a line of the program.
    pub(crate) fn requested_reason(
        &self,
        at: &'static Location<'static>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        self.cancelled(CancelKind::Requested, Some(at), text)
    }

    /// Returns a cancellation on behalf of the current task.
    fn cancelled(
        &self,
        kind: CancelKind,
        location: Option<&'static Location<'static>>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        let current = self.scheduler.current();
        let by = (current != NIL).then(|| self.tree[current].task_ref());
        self.cancel.cancelled(CancelReason { kind, by, location, text })
    }

    /// Returns why the children of a task are cancelled when it ends: for the same reason as the
    /// task itself, or because their parent has returned.
    pub(super) fn parent_reason(&self, parent: Slot) -> Cancelled {
        let node = &self.tree[parent];
        let inherited = node.cancel.peek(|cancelled| cancelled.map(Cancelled::inherited));
        inherited.unwrap_or_else(|| {
            self.cancelled(CancelKind::ParentEnded, Some(node.spawned_at.get()), None)
        })
    }

    /// Returns the reason for cancelling a child because its promise is being dropped. The line
    /// that runs a destructor is not available in it, so this names the combinator that drops the
    /// promise, or the line that made the promise.
    pub(super) fn drop_reason(&self, child: Slot) -> Cancelled {
        match self.cancel.abandoning() {
            Some(at) => self.cancelled(CancelKind::BranchAbandoned, Some(at), None),
            None => {
                let spawned_at = self.tree[child].spawned_at.get();
                self.cancelled(CancelKind::PromiseDropped, Some(spawned_at), None)
            }
        }
    }

    /// Requests the cancellation of a task.
    pub(crate) fn request_cancel(&self, slot: Slot, cancelled: &Cancelled) {
        match self.tree.request_cancel(slot, cancelled) {
            CancelAction::None => {}
            CancelAction::Wake => self.wake(slot),
            CancelAction::Shielded => self.request_shielded(slot, cancelled),
            CancelAction::Forward { domain, id } => {
                let cancelled = cancelled.clone();
                // fault: remote-child-ended-early
                // fault: remote-children-not-cancelled
                self.run.remote(usize::from(domain)).send(Message::Cancel { id, cancelled });
                self.watch(domain, NodeKey { slot, id });
            }
        }
    }

    /// Requests the cancellation of all children of a task except its daemons.
    pub(super) fn cancel_children(&self, parent: Slot) {
        let mut child = self.tree[parent].first_child.get();
        if child == NIL {
            return;
        }
        let cancelled = self.parent_reason(parent);
        while child != NIL {
            if self.tree[child].handle_state.get() != HandleState::Daemon {
                // fault: handlers-outlive-root
                self.request_cancel(child, &cancelled);
            }
            // A request frees no node, so the list is intact.
            child = self.tree[child].next.get();
        }
    }

    /// Requests the cancellation of the daemons of a task, which has no other children any more.
    pub(super) fn cancel_daemons(&self, parent: Slot) {
        let node = &self.tree[parent];
        if node.daemons() == 0 {
            return;
        }
        node.with_cold(|cold| cold.daemons = 0);
        let cancelled = self.parent_reason(parent);
        let mut child = node.first_child.get();
        while child != NIL {
            self.request_cancel(child, &cancelled);
            child = self.tree[child].next.get();
        }
    }

    /// Makes a child that was just spawned a daemon.
    pub(crate) fn make_daemon(&self, child: NodeKey) {
        self.with_entry(child, |node| {
            node.handle_state.set(HandleState::Daemon);
            let parent = node.parent.get().local().expect("a child of this domain has a parent");
            self.tree[parent].with_cold(|cold| cold.daemons += 1);
        });
    }

    /// Runs `f`, which drops a branch of the combinator that was created at line `at`. A promise
    /// that is dropped in `f` counts as abandoned: it is cancelled without a violation.
    pub(crate) fn abandon_branch<R>(at: &'static Location<'static>, f: impl FnOnce() -> R) -> R {
        /// Restores the previous combinator, also if `f` panics.
        struct Restore(Option<&'static Location<'static>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                Domain::try_with(|domain| domain.cancel.replace_abandoning(self.0));
            }
        }
        let before = Domain::try_with(|domain| domain.cancel.replace_abandoning(Some(at)));
        let restore = before.map(Restore);
        let result = f();
        drop(restore);
        result
    }
}
