//! The tasks of one domain as a tree: each task with the list of its children.

use std::panic::Location;
use std::task::Waker;

use super::arena::NodeArena;
use super::cancel_reason::Cancelled;
use super::id::TaskId;
use super::node::{HandleState, NIL, Node, NodeKey, NodeLeftovers, Parent, Slot, Stage};

/// The most children that are searched for one of them.
const CHILDREN_SEARCHED_MAX: usize = 256;

/// The nodes of one domain, each in the list of its parent. `R` is the reference by which a task is
/// polled.
///
/// **Invariant:** a node is in the list of its parent from its creation until it is freed, and
/// `live_children` is the number of nodes in the list that are not complete. Every operation takes
/// constant time except walks over a list of children, of which each task causes at most two.
pub(crate) struct TaskTree<R> {
    nodes: NodeArena<R>,
}

impl<R> Default for TaskTree<R> {
    fn default() -> Self {
        TaskTree { nodes: NodeArena::default() }
    }
}

impl<R> TaskTree<R> {
    /// Adds a node, at the end of the list of its parent if the parent is on this domain.
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

    /// Marks a task as complete that is in no list of this domain, and frees its node: the root, or
    /// a task whose parent lives on another domain.
    pub(crate) fn complete_unlisted(&self, slot: Slot) -> NodeLeftovers {
        let node = &self[slot];
        debug_assert!(node.parent.get().local().is_none(), "{node:?} is in a list");
        node.stage.set(Stage::Complete);
        self.remove(slot)
    }

    /// Removes and frees the node of a complete task.
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

    /// Returns the node of `key`, unless it has been freed since.
    #[inline]
    pub(crate) fn get(&self, key: NodeKey) -> Option<&Node<R>> {
        self.nodes.get(key.slot).filter(|node| node.id.get() == key.id)
    }

    /// Returns the number of nodes, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Returns all nodes in a fixed order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.nodes.occupied()
    }

    /// Returns the children of `parent`, oldest first.
    pub(crate) fn children(&self, parent: Slot) -> impl Iterator<Item = Slot> + '_ {
        let some = |slot: Slot| Some(slot).filter(|&slot| slot != NIL);
        let first = some(self[parent].first_child.get());
        std::iter::successors(first, move |&slot| some(self[slot].next.get()))
    }

    /// Returns the child of `parent` with that id, if it lives on this domain, is not complete, and
    /// is among the first few children: nothing is recorded for finding others.
    pub(crate) fn child_with_id(&self, parent: Slot, id: TaskId) -> Option<Slot> {
        let is_it = |slot: &Slot| self[*slot].id.get() == id;
        let child = self.children(parent).take(CHILDREN_SEARCHED_MAX).find(is_it)?;
        let is_here = self[child].remote_domain.get().is_none() && !self[child].is_complete();
        is_here.then_some(child)
    }

    /// Records a cancel request for the task at `slot`, unless an earlier one is recorded. Returns
    /// what the caller must do.
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

    /// Marks a task as complete in the common case: its promise exists, and nothing but the parent
    /// itself waits for it.
    #[inline]
    pub(crate) fn complete_fast(&self, node: &Node<R>) -> FastCompletion {
        let is_held = matches!(
            node.handle_state.get(),
            HandleState::Held | HandleState::Polled | HandleState::Cancelling
        );
        match node.parent.get() {
            Parent::Local(parent) if is_held && !node.join_waker.is_some() => {
                node.stage.set(Stage::Complete);
                let awaited = node.wake_parent.replace(false);
                match self.child_completed(parent, awaited) {
                    true => FastCompletion::Queue(parent),
                    false => FastCompletion::Done,
                }
            }
            _ => FastCompletion::NotApplicable,
        }
    }

    /// Counts a child as complete and wakes the parent if it waits for this child (`wake_parent`)
    /// or for its last one, daemons aside. Returns whether the parent must be queued.
    #[inline]
    fn child_completed(&self, parent: Slot, awaited: bool) -> bool {
        let parent = &self[parent];
        let left = parent.live_children.get() - 1;
        parent.live_children.set(left);
        let is_last =
            parent.stage.get() == Stage::Joining && (left == 0 || left == parent.daemons());
        (awaited || is_last) && parent.wake()
    }

    fn daemon_completed(&self, parent: Parent) {
        let Some(parent) = parent.local() else { return };
        self[parent].with_cold(|cold| cold.daemons = cold.daemons.saturating_sub(1));
    }

    /// Marks the task at `slot` as complete. Returns what the caller must do.
    pub(crate) fn complete(&self, slot: Slot) -> Completion {
        let node = &self[slot];
        node.stage.set(Stage::Complete);
        let (handle_state, parent) = (node.handle_state.get(), node.parent.get());
        let mut awaited = false;
        let notice = match handle_state {
            HandleState::Held
            | HandleState::Polled
            | HandleState::Cancelling
            | HandleState::GivenUp => {
                awaited = node.wake_parent.replace(false);
                node.join_waker
                    .take()
                    .map_or(CompletionNotice::None, |waker| CompletionNotice::Wake(*waker))
            }
            HandleState::InGroup { group, index } => CompletionNotice::Group { group, index },
            HandleState::Daemon => {
                self.daemon_completed(parent);
                CompletionNotice::None
            }
            HandleState::Detached | HandleState::SignalHandler | HandleState::Forgotten => {
                CompletionNotice::None
            }
        };
        let ready = parent.local().filter(|&parent| self.child_completed(parent, awaited));
        // No handle will free the node of a detached child. (A root has no list to be freed from.)
        let is_detached = matches!(
            handle_state,
            HandleState::Detached
                | HandleState::Daemon
                | HandleState::GivenUp
                | HandleState::SignalHandler
        );
        let is_freed = is_detached && matches!(parent, Parent::Local(_));
        let leftovers = is_freed.then(|| self.remove(slot));
        Completion { notice, ready, leftovers }
    }
}

/// The next step of the caller after a cancel request.
#[must_use]
pub(crate) enum CancelAction {
    /// Nothing: the task was cancelled before, or is complete.
    None,
    /// Wake the task, so that it notices the cancellation.
    Wake,
    /// Start the time limit of the shield and inform the shielded task.
    Shielded,
    /// Send the request to the domain that the task lives on.
    Forward { domain: u16, id: TaskId },
}

/// The result of [`TaskTree::complete_fast`].
#[must_use]
pub(crate) enum FastCompletion {
    /// The task is complete, and its parent must be put into the run queue.
    Queue(Slot),
    /// The task is complete, and the parent does not wait for it.
    Done,
    /// This is not the common case, and nothing was changed.
    NotApplicable,
}

/// The next steps of the caller after a task has completed. They are taken outside the tree,
/// because they may run user code.
#[must_use]
pub(crate) struct Completion {
    pub(crate) notice: CompletionNotice,
    /// The parent, if it must be queued.
    pub(crate) ready: Option<Slot>,
    /// The contents of the node, if it was freed because no future waits for the child.
    pub(crate) leftovers: Option<NodeLeftovers>,
}

/// The waiter that is notified of a completion in addition to the parent.
#[must_use]
pub(crate) enum CompletionNotice {
    None,
    /// A combinator inside the parent.
    Wake(Waker),
    /// The group that contains the promise.
    Group {
        group: u32,
        index: u32,
    },
}

impl<R> std::ops::Index<Slot> for TaskTree<R> {
    type Output = Node<R>;

    #[inline]
    fn index(&self, slot: Slot) -> &Node<R> {
        &self.nodes[slot]
    }
}
