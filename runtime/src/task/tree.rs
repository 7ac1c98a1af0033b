//! The tasks of one domain, and their kinship.

use std::task::Waker;

use slab::Slab;

use super::cancelled::Cancelled;
use super::node::{Claim, Key, NONE, Node, Parent, Sched, Slot, Stage};

/// The nodes of one domain. Slots are used again, so a task costs no allocation of its own here.
///
/// **Invariant:** a node is in the list of its parent from its making until its entry is freed,
/// and `live_children` counts those in the list that have not ended. Every operation is O(1) but
/// for the walks over a list of children, of which each task makes at most two in its life.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Slab<Node>,
}

impl Tree {
    /// Puts a node into the tree, at the end of its parent's list if the parent is here.
    pub(crate) fn insert(&mut self, node: Node) -> Slot {
        let parent = node.parent;
        let slot =
            Slot::try_from(self.nodes.insert(node)).expect("a domain holds 2^32 tasks at most");
        assert_ne!(slot, NONE, "a domain holds 2^32 tasks at most");
        if let Parent::Here(parent) = parent {
            self.link(parent, slot);
        }
        slot
    }

    fn link(&mut self, parent: Slot, child: Slot) {
        let last = self[parent].last_child;
        self[child].prev = last;
        match last {
            NONE => self[parent].first_child = child,
            last => self[last].next = child,
        }
        let node = &mut self[parent];
        node.last_child = child;
        node.live_children += 1;
    }

    /// Takes a node out of the tree. A child that is taken out has ended.
    pub(crate) fn remove(&mut self, slot: Slot) -> Node {
        let node = self.nodes.remove(slot as usize);
        debug_assert!(node.ended(), "{node:?} leaves the tree before its end");
        debug_assert_eq!(node.first_child, NONE, "{node:?} leaves children behind");
        if let Parent::Here(parent) = node.parent {
            match node.prev {
                NONE => self[parent].first_child = node.next,
                prev => self[prev].next = node.next,
            }
            match node.next {
                NONE => self[parent].last_child = node.prev,
                next => self[next].prev = node.prev,
            }
        }
        node
    }

    /// Returns the node under `key`, unless its task is gone and the slot is free or used again.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Node> {
        self.nodes.get_mut(key.slot as usize).filter(|node| node.id == key.id)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Node> {
        self.nodes.get(key.slot as usize).filter(|node| node.id == key.id)
    }

    /// Returns all the nodes, in a fixed order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.nodes.iter().map(|(slot, _)| slot as Slot)
    }

    /// Returns the children of `parent`, oldest first.
    pub(crate) fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> + '_ {
        let first = Some(self[parent].first_child).filter(|&slot| slot != NONE);
        std::iter::successors(first, |&slot| Some(self[slot].next).filter(|&slot| slot != NONE))
    }

    /// Wakes the task at `slot`. Returns whether it has to be put into the ready queue.
    #[inline]
    pub(crate) fn wake(&mut self, slot: Slot) -> bool {
        let node = &mut self[slot];
        match node.sched {
            Sched::Idle if node.own.is_some() => {
                node.sched = Sched::Queued;
                return true;
            }
            Sched::Running => node.sched = Sched::Woken,
            Sched::Idle | Sched::Queued | Sched::Woken => {}
        }
        false
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

    /// Marks the end of the task at `slot` in its parent's books, and says what is to be done.
    pub(crate) fn end(&mut self, slot: Slot) -> End {
        let node = &mut self[slot];
        node.stage = Stage::Ended;
        let (claim, parent) = (node.claim, node.parent);
        let mut wake_parent = None;
        let notice = match claim {
            Claim::Held | Claim::Cancelling => {
                if std::mem::take(&mut node.awaited) {
                    wake_parent = parent.here();
                }
                node.awaiter.take().map_or(Notice::None, Notice::Wake)
            }
            Claim::Collected { collector, index } => Notice::Collector { collector, index },
            Claim::Waived | Claim::Service | Claim::Forgotten => Notice::None,
        };
        if let Some(slot) = parent.here() {
            let parent = &mut self[slot];
            parent.live_children -= 1;
            if parent.live_children == 0 && parent.stage == Stage::Winding {
                wake_parent = Some(slot);
            }
        }
        let freed =
            matches!(claim, Claim::Waived | Claim::Service) && matches!(parent, Parent::Here(_));
        let stale = if freed { self.remove(slot).awaiter } else { None };
        End { notice, wake_parent, stale }
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
        id: super::id::TaskId,
    },
}

/// Who is to be told, outside the tree, that a task has ended.
#[must_use]
pub(crate) struct End {
    pub(crate) notice: Notice,
    /// The parent, if it waited for this child, or for the last one.
    pub(crate) wake_parent: Option<Slot>,
    /// Somebody who gave up waiting; to be dropped, which may run anything.
    pub(crate) stale: Option<Waker>,
}

#[must_use]
pub(crate) enum Notice {
    None,
    Wake(Waker),
    Collector { collector: u32, index: u32 },
}

impl std::ops::Index<Slot> for Tree {
    type Output = Node;

    fn index(&self, slot: Slot) -> &Node {
        &self.nodes[slot as usize]
    }
}

impl std::ops::IndexMut<Slot> for Tree {
    fn index_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.nodes[slot as usize]
    }
}
