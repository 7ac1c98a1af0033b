//! The tasks of one domain, and their kinship.

use std::task::Waker;

use super::cancelled::Cancelled;
use super::id::TaskId;
use super::node::{About, Claim, Key, NONE, Node, Parent, Remains, Slot, Stage};
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
    pub(crate) fn insert(&mut self, id: TaskId, about: About, parent: Parent) -> Slot {
        let slot = self.nodes.take(id, about, parent);
        if let Parent::Here(parent) = parent {
            self.link(parent, slot);
        }
        slot
    }

    #[inline]
    fn link(&mut self, parent: Slot, child: Slot) {
        let node = &mut self[parent];
        let last = std::mem::replace(&mut node.last_child, child);
        node.live_children += 1;
        if last == NONE {
            node.first_child = child;
        } else {
            self[last].next = child;
            self[child].prev = last;
        }
    }

    /// Takes a node out of the tree. A child that is taken out has ended.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> Remains {
        let node = &mut self[slot];
        let (parent, prev, next) = (node.parent, node.prev, node.next);
        let remains = node.reset();
        if let Parent::Here(parent) = parent {
            match prev {
                NONE => self[parent].first_child = next,
                prev => self[prev].next = next,
            }
            match next {
                NONE => self[parent].last_child = prev,
                next => self[next].prev = prev,
            }
        }
        self.nodes.leave(slot);
        remains
    }

    /// Returns the node under `key`, unless its task is gone and the place is free or used again.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Node> {
        self.get(key)?;
        Some(&mut self[key.slot])
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Node> {
        self.nodes.get(key.slot).filter(|node| node.id == key.id)
    }

    /// Returns all the nodes, in a fixed order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.nodes.taken()
    }

    /// Returns the children of `parent`, oldest first.
    pub(crate) fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> + '_ {
        let first = Some(self[parent].first_child).filter(|&slot| slot != NONE);
        std::iter::successors(first, |&slot| Some(self[slot].next).filter(|&slot| slot != NONE))
    }

    /// Asks for the end of the task at `slot`; the first one who asks is the one that is told of.
    pub(crate) fn request_cancel(&mut self, slot: Slot, cancelled: &Cancelled) -> Request {
        let node = &mut self[slot];
        if node.cancel.is_some() || node.ended() {
            return Request::Nothing;
        }
        if node.rare.as_ref().is_some_and(|rare| rare.shielding.is_some()) {
            return Request::Ask;
        }
        node.cancel = Some(cancelled.clone());
        match node.away {
            Some(domain) => Request::Tell { domain, id: node.id },
            None => Request::Wake,
        }
    }

    /// As [`end`](Tree::end), in the usual case: the promise is there, and nobody but the parent
    /// itself waits, if anybody does. Returns the parent if it is to be queued.
    #[inline]
    pub(crate) fn end_plainly(&mut self, slot: Slot) -> Option<Option<Slot>> {
        let node = &mut self[slot];
        let held = matches!(node.claim, Claim::Held | Claim::Cancelling);
        let parent = node.parent.here().filter(|_| held && node.awaiter.is_none())?;
        node.stage = Stage::Ended;
        let awaited = std::mem::take(&mut node.awaited);
        Some(self.lose_child(parent, awaited).then_some(parent))
    }

    /// One child less is alive, which the parent waited for or not. Returns whether the parent is
    /// to be queued.
    #[inline]
    fn lose_child(&mut self, parent: Slot, awaited: bool) -> bool {
        let parent = &mut self[parent];
        parent.live_children -= 1;
        let last = parent.live_children == 0 && parent.stage == Stage::Winding;
        (awaited || last) && parent.wake()
    }

    /// Marks the end of the task at `slot` in its parent's books, and says what is to be done.
    pub(crate) fn end(&mut self, slot: Slot) -> End {
        let node = &mut self[slot];
        node.stage = Stage::Ended;
        let (claim, parent) = (node.claim, node.parent);
        let mut awaited = false;
        let notice = match claim {
            Claim::Held | Claim::Cancelling => {
                awaited = std::mem::take(&mut node.awaited);
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

impl std::ops::IndexMut<Slot> for Tree {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.nodes[slot]
    }
}
