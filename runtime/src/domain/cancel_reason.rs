//! Why the current task cancels another one.

use std::borrow::Cow;
use std::panic::Location;

use super::Domain;
use crate::task::{CancelKind, CancelReason, Cancelled, NIL, Node, Slot, TaskRef};

impl Domain {
    /// The current task asks, at a line of the program.
    pub(crate) fn requested_reason(
        &self,
        at: &'static Location<'static>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        self.cancel_reason_for(CancelKind::Requested, Some(at), text)
    }

    /// The current task does something that ends a child.
    pub(crate) fn cancel_reason_for(
        &self,
        kind: CancelKind,
        at: Option<&'static Location<'static>>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        let current = self.current.get();
        let by = (current != NIL).then(|| TaskRef::of(&self.tree[current]));
        let reason = CancelReason { kind, by, location: at, text };
        let mut newest = self.newest_reason.borrow_mut();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.matches(&reason)) {
            return newest.clone();
        }
        newest.insert(Cancelled::new(reason)).clone()
    }

    /// Why the children of a task are ended with it: for the reason for which it is ended itself,
    /// or because it has ended.
    pub(super) fn parent_reason(&self, parent: Slot) -> Cancelled {
        let node = &self.tree[parent];
        let cancelled = node.cancel.peek(|cancelled| cancelled.map(Cancelled::inherited));
        cancelled.unwrap_or_else(|| {
            self.cancel_reason_for(CancelKind::ParentEnded, Some(node.spawned_at.get()), None)
        })
    }

    /// Why a child is ended whose promise is dropped by the present code. A drop does not know its
    /// line; the combinator that drops does, and otherwise there is the one that made the promise.
    pub(super) fn drop_reason(&self, child: Slot) -> Cancelled {
        let made_at = self.tree[child].spawned_at.get();
        match self.abandoning.get() {
            Some(at) => self.cancel_reason_for(CancelKind::BranchAbandoned, Some(at), None),
            None => self.cancel_reason_for(CancelKind::PromiseDropped, Some(made_at), None),
        }
    }
}

impl TaskRef {
    pub(crate) fn of(node: &Node) -> TaskRef {
        TaskRef { id: node.id.get(), name: node.name() }
    }
}
