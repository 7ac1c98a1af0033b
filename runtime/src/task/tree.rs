//! The tasks of one domain, and their kinship.

use std::panic::Location;
use std::task::Waker;

use super::cancelled::Cancelled;
use super::id::TaskId;
use super::node::{Claim, Key, NONE, Node, Parent, Remains, Slot, Stage};
use super::nodes::Nodes;

/// The nodes of one domain, each in the list of its parent.
///
/// **Invariant:** a node is in the list of its parent from its making until its entry is freed,
/// and `live_children` counts those in the list that have not ended. Every operation is O(1) but
/// for the walks over a list of children, of which each task makes at most two in its life.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Nodes,
}

impl Tree {
    /// Puts a node into the tree, at the end of its parent's list if the parent is here.
    #[inline]
    pub(crate) fn insert(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
    ) -> (Slot, &Node) {
        let (slot, node) = self.nodes.take(id, spawned_at, parent);
        if let Parent::Here(parent) = parent {
            self.link(parent, slot, node);
        }
        (slot, node)
    }

    #[inline]
    fn link(&self, parent: Slot, slot: Slot, child: &Node) {
        let parent = &self[parent];
        let last = parent.last_child.replace(slot);
        parent.live_children.set(parent.live_children.get() + 1);
        if last == NONE {
            parent.first_child.set(slot);
        } else {
            self[last].next.set(slot);
            child.prev.set(last);
        }
    }

    /// Takes a node out of the tree. A child that is taken out has ended.
    #[inline]
    pub(crate) fn remove(&self, slot: Slot) -> Remains {
        let node = &self[slot];
        let (prev, next) = (node.prev.get(), node.next.get());
        if let Parent::Here(parent) = node.parent.get() {
            if prev == NONE || next == NONE {
                let parent = &self[parent];
                if prev == NONE {
                    parent.first_child.set(next);
                }
                if next == NONE {
                    parent.last_child.set(prev);
                }
            }
            if prev != NONE {
                self[prev].next.set(next);
            }
            if next != NONE {
                self[next].prev.set(prev);
            }
        }
        let remains = node.reset();
        self.nodes.leave(slot, node);
        remains
    }

    /// Returns the node under `key`, unless its task is gone and the place is free or used again.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Node> {
        self.nodes.get(key.slot).filter(|node| node.id.get() == key.id)
    }

    /// Returns all the nodes, in a fixed order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.nodes.taken()
    }

    /// Returns the children of `parent`, oldest first.
    pub(crate) fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> + '_ {
        let some = |slot: Slot| Some(slot).filter(|&slot| slot != NONE);
        let first = some(self[parent].first_child.get());
        std::iter::successors(first, move |&slot| some(self[slot].next.get()))
    }

    /// Asks for the end of the task at `slot`; the first one who asks is the one that is told of.
    pub(crate) fn request_cancel(&self, slot: Slot, cancelled: &Cancelled) -> Request {
        let node = &self[slot];
        if node.cancel.is_full() || node.ended() {
            return Request::Nothing;
        }
        // fault: shield-ineffective
        if node.is_shield() {
            return Request::Ask;
        }
        node.cancel.fill(cancelled.clone());
        match node.away.get() {
            Some(domain) => Request::Tell { domain, id: node.id.get() },
            None => Request::Wake,
        }
    }

    /// As [`end`](Tree::end), in the usual case: the promise is there, and nobody but the parent
    /// itself waits, if anybody does. Returns the parent if it is to be queued.
    #[inline]
    pub(crate) fn end_plainly(&self, node: &Node) -> Option<Option<Slot>> {
        let held = matches!(node.claim.get(), Claim::Held | Claim::Cancelling);
        let parent = node.parent.get().here().filter(|_| held && !node.awaiter.is_full())?;
        node.stage.set(Stage::Ended);
        let awaited = node.awaited.replace(false);
        Some(self.lose_child(parent, awaited).then_some(parent))
    }

    /// One child less is alive, which the parent waited for or not. Returns whether the parent is
    /// to be queued.
    #[inline]
    fn lose_child(&self, parent: Slot, awaited: bool) -> bool {
        let parent = &self[parent];
        let left = parent.live_children.get() - 1;
        parent.live_children.set(left);
        let last = left == 0 && parent.stage.get() == Stage::Winding;
        (awaited || last) && parent.wake()
    }

    /// Marks the end of the task at `slot` in its parent's books, and says what is to be done.
    pub(crate) fn end(&self, slot: Slot) -> End {
        let node = &self[slot];
        node.stage.set(Stage::Ended);
        let (claim, parent) = (node.claim.get(), node.parent.get());
        let mut awaited = false;
        let notice = match claim {
            Claim::Held | Claim::Cancelling => {
                awaited = node.awaited.replace(false);
                node.awaiter.take().map_or(Notice::None, |waker| Notice::Wake(*waker))
            }
            Claim::Collected { collector, index } => Notice::Collector { collector, index },
            Claim::Waived | Claim::Service | Claim::Forgotten => Notice::None,
        };
        let ready = parent.here().filter(|&parent| self.lose_child(parent, awaited));
        let freed =
            matches!(claim, Claim::Waived | Claim::Service) && matches!(parent, Parent::Here(_));
        let remains = freed.then(|| self.remove(slot));
        End { notice, ready, remains }
    }
}

/// What is to be done, outside the tree, so that a cancelled task notices.
#[must_use]
pub(crate) enum Request {
    Nothing,
    Wake,
    /// The task is shielded: it is asked, and its time limited.
    Ask,
    Tell {
        domain: u16,
        id: TaskId,
    },
}

/// Who is to be told, outside the tree, that a task has ended.
#[must_use]
pub(crate) struct End {
    pub(crate) notice: Notice,
    /// The parent, if it waited for this child, or for the last one, and is to be queued.
    pub(crate) ready: Option<Slot>,
    /// What is left of a task that nobody asks about.
    pub(crate) remains: Option<Remains>,
}

#[must_use]
pub(crate) enum Notice {
    None,
    Wake(Waker),
    Collector { collector: u32, index: u32 },
}

impl std::ops::Index<Slot> for Tree {
    type Output = Node;

    #[inline]
    fn index(&self, slot: Slot) -> &Node {
        &self.nodes[slot]
    }
}
