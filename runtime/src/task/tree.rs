//! The tasks of one domain, and their kinship.

use std::panic::Location;
use std::task::Waker;

use super::arena::NodeArena;
use super::cancel_reason::Cancelled;
use super::id::TaskId;
use super::node::{HandleState, NIL, Node, NodeKey, NodeLeftovers, Parent, Slot, Stage};

/// The nodes of one domain, each in the list of its parent.
///
/// **Invariant:** a node is in the list of its parent from its making until its entry is freed,
/// and `live_children` counts those in the list that have not ended. Every operation is O(1) but
/// for the walks over a list of children, of which each task makes at most two in its life.
pub(crate) struct TaskTree<R> {
    nodes: NodeArena<R>,
}

impl<R> Default for TaskTree<R> {
    fn default() -> Self {
        TaskTree { nodes: NodeArena::default() }
    }
}

impl<R> TaskTree<R> {
    /// Puts a node into the tree, at the end of its parent's list if the parent is here.
    #[inline]
    pub(crate) fn insert(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
    ) -> (Slot, &Node<R>) {
        let (slot, node) = self.nodes.alloc(id, spawned_at, parent);
        if let Parent::Local(parent) = parent {
            self.link(parent, slot, node);
        }
        (slot, node)
    }

    #[inline]
    fn link(&self, parent: Slot, slot: Slot, child: &Node<R>) {
        let parent = &self[parent];
        let last = parent.last_child.replace(slot);
        parent.live_children.set(parent.live_children.get() + 1);
        if last == NIL {
            parent.first_child.set(slot);
        } else {
            self[last].next.set(slot);
            child.prev.set(last);
        }
    }

    /// Takes a node out of the tree. A child that is taken out has ended.
    #[inline]
    pub(crate) fn remove(&self, slot: Slot) -> NodeLeftovers {
        let node = &self[slot];
        let (prev, next) = (node.prev.get(), node.next.get());
        if let Parent::Local(parent) = node.parent.get() {
            if prev == NIL || next == NIL {
                let parent = &self[parent];
                if prev == NIL {
                    parent.first_child.set(next);
                }
                if next == NIL {
                    parent.last_child.set(prev);
                }
            }
            if prev != NIL {
                self[prev].next.set(next);
            }
            if next != NIL {
                self[next].prev.set(prev);
            }
        }
        let leftovers = node.reset();
        self.nodes.free(slot, node);
        leftovers
    }

    /// Returns the node under `key`, unless its task is gone and the place is free or used again.
    #[inline]
    pub(crate) fn get(&self, key: NodeKey) -> Option<&Node<R>> {
        self.nodes.get(key.slot).filter(|node| node.id.get() == key.id)
    }

    /// Returns all the nodes, in a fixed order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.nodes.occupied()
    }

    /// Returns the children of `parent`, oldest first.
    pub(crate) fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> + '_ {
        let some = |slot: Slot| Some(slot).filter(|&slot| slot != NIL);
        let first = some(self[parent].first_child.get());
        std::iter::successors(first, move |&slot| some(self[slot].next.get()))
    }

    /// Asks for the end of the task at `slot`; the first one who asks is the one that is told of.
    pub(crate) fn request_cancel(&self, slot: Slot, cancelled: &Cancelled) -> CancelAction {
        let node = &self[slot];
        if node.cancel.is_some() || node.is_complete() {
            return CancelAction::None;
        }
        // fault: shield-ineffective
        if node.is_shield() {
            return CancelAction::Shielded;
        }
        node.cancel.put(cancelled.clone());
        match node.remote_domain.get() {
            Some(domain) => CancelAction::Forward { domain, id: node.id.get() },
            None => CancelAction::Wake,
        }
    }

    /// As [`end`](Tree::end), in the usual case: the promise is there, and nobody but the parent
    /// itself waits, if anybody does. Returns the parent if it is to be queued.
    #[inline]
    pub(crate) fn complete_fast(&self, node: &Node<R>) -> Option<Option<Slot>> {
        let held = matches!(node.handle_state.get(), HandleState::Held | HandleState::Cancelling);
        let parent = node.parent.get().local().filter(|_| held && !node.join_waker.is_some())?;
        node.stage.set(Stage::Complete);
        let awaited = node.wake_parent.replace(false);
        Some(self.child_completed(parent, awaited).then_some(parent))
    }

    /// One child less is alive, which the parent waited for or not. Returns whether the parent is
    /// to be queued.
    #[inline]
    fn child_completed(&self, parent: Slot, awaited: bool) -> bool {
        let parent = &self[parent];
        let left = parent.live_children.get() - 1;
        parent.live_children.set(left);
        let last = left == 0 && parent.stage.get() == Stage::Joining;
        (awaited || last) && parent.wake()
    }

    /// Marks the end of the task at `slot` in its parent's books, and says what is to be done.
    pub(crate) fn complete(&self, slot: Slot) -> Completion {
        let node = &self[slot];
        node.stage.set(Stage::Complete);
        let (claim, parent) = (node.handle_state.get(), node.parent.get());
        let mut awaited = false;
        let notice = match claim {
            HandleState::Held | HandleState::Cancelling => {
                awaited = node.wake_parent.replace(false);
                node.join_waker
                    .take()
                    .map_or(CompletionNotice::None, |waker| CompletionNotice::Wake(*waker))
            }
            HandleState::InGroup { group, index } => CompletionNotice::Group { group, index },
            HandleState::Detached | HandleState::SignalHandler | HandleState::Forgotten => {
                CompletionNotice::None
            }
        };
        let ready = parent.local().filter(|&parent| self.child_completed(parent, awaited));
        let freed = matches!(claim, HandleState::Detached | HandleState::SignalHandler)
            && matches!(parent, Parent::Local(_));
        let leftovers = freed.then(|| self.remove(slot));
        Completion { notice, ready, leftovers }
    }
}

/// What is to be done, outside the tree, so that a cancelled task notices.
#[must_use]
pub(crate) enum CancelAction {
    None,
    Wake,
    /// The task is shielded: it is asked, and its time limited.
    Shielded,
    Forward {
        domain: u16,
        id: TaskId,
    },
}

/// Who is to be told, outside the tree, that a task has ended.
#[must_use]
pub(crate) struct Completion {
    pub(crate) notice: CompletionNotice,
    /// The parent, if it waited for this child, or for the last one, and is to be queued.
    pub(crate) ready: Option<Slot>,
    /// What is left of a task that nobody asks about.
    pub(crate) leftovers: Option<NodeLeftovers>,
}

#[must_use]
pub(crate) enum CompletionNotice {
    None,
    Wake(Waker),
    Group { group: u32, index: u32 },
}

impl<R> std::ops::Index<Slot> for TaskTree<R> {
    type Output = Node<R>;

    #[inline]
    fn index(&self, slot: Slot) -> &Node<R> {
        &self.nodes[slot]
    }
}
