use std::sync::{Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::{ChildRef, Domain, Message, RemoteHandle};
use crate::task::NodeKey;

/// The children of a group that discards their outcomes. No promise exists for them; the group
/// removes a child when it completes.
#[derive(Debug, Default)]
pub(crate) struct DiscardedChildren {
    children: Mutex<Slab<ChildRef>>,
}

impl DiscardedChildren {
    fn lock(&self) -> MutexGuard<'_, Slab<ChildRef>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Adds a child and returns its index.
    pub(crate) fn insert(&self, child: ChildRef) -> usize {
        self.lock().insert(child)
    }

    /// Removes a child that has completed.
    pub(super) fn remove(&self, index: u32) -> Option<NodeKey> {
        self.lock().try_remove(index as usize).map(|child| child.entry)
    }

    /// Returns the children.
    pub(crate) fn all(&self) -> Vec<ChildRef> {
        self.lock().iter().map(|(_, child)| *child).collect()
    }

    /// Gives all children up, as dropping their promises does. `owner` is the handle of the domain
    /// that they live on.
    pub(crate) fn give_up(&self, owner: &RemoteHandle) {
        let children = std::mem::take(&mut *self.lock());
        for (_, ChildRef { entry, domain: index, .. }) in children {
            // On the parent's own domain the node is updated directly.
            let elsewhere = Domain::try_with(|domain| {
                let abandoned = domain.drop_is_abandonment();
                if !domain.is_domain_of(owner, index) {
                    return Some(abandoned);
                }
                domain.promise_dropped(entry, abandoned);
                None
            });
            if let Some(abandoned) = elsewhere.unwrap_or_else(|| Some(std::thread::panicking())) {
                owner.send(Message::HandleDropped { entry, abandoned });
            }
        }
    }
}
