//! Why the current task cancels another one.

use std::borrow::Cow;
use std::panic::Location;

use super::Domain;
use crate::task::{Actor, Cancelled, NONE, Node, Reason, Slot, Why};

impl Domain {
    /// The current task asks, at a line of the program.
    pub(crate) fn asked_at(
        &self,
        at: &'static Location<'static>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        self.because(Why::Asked, Some(at), text)
    }

    /// The current task does something that ends a child.
    pub(crate) fn because(
        &self,
        why: Why,
        at: Option<&'static Location<'static>>,
        text: Option<Cow<'static, str>>,
    ) -> Cancelled {
        let current = self.current.get();
        let by = (current != NONE).then(|| Actor::of(&self.tree[current]));
        let reason = Reason { why, by, at, text };
        let mut newest = self.cancelled.borrow_mut();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.is_for(&reason)) {
            return newest.clone();
        }
        newest.insert(Cancelled::new(reason)).clone()
    }

    /// Why the children of a task are ended with it: for the reason for which it is ended itself,
    /// or because it has ended.
    pub(super) fn with_parent(&self, parent: Slot) -> Cancelled {
        let node = &self.tree[parent];
        let cancelled = node.cancel.look(|cancelled| cancelled.map(Cancelled::inherited));
        cancelled
            .unwrap_or_else(|| self.because(Why::ParentEnded, Some(node.spawned_at.get()), None))
    }

    /// Why a child is ended whose promise is dropped by the present code. A drop does not know its
    /// line; the combinator that drops does, and otherwise there is the one that made the promise.
    pub(super) fn by_drop(&self, child: Slot) -> Cancelled {
        let made_at = self.tree[child].spawned_at.get();
        match self.abandoning.get() {
            Some(at) => self.because(Why::GivenUp, Some(at), None),
            None => self.because(Why::Dropped, Some(made_at), None),
        }
    }
}

impl Actor {
    pub(crate) fn of(node: &Node) -> Actor {
        Actor { id: node.id.get(), name: node.name() }
    }
}
