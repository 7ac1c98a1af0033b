//! The children of a task: their nodes in the tree, and the parent's operations on their handles.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::{CallTarget, Domain, Forgotten, Node, OwnerRef, RemoteHandle};
use crate::diagnostic::{ChildInfo, Finding};
use crate::task::{
    BlockedOn, Cancelled, HandleState, IdHasher, NIL, NodeKey, Parent, RunState, Slot, Stage,
    TaskId, TaskMeta, WaitSite, WaitTarget,
};

/// A parent's reference to a child: the child's node on the parent's domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRef {
    pub(crate) entry: NodeKey,
    /// The parent's domain, which has the node.
    pub(crate) domain: u16,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl ChildRef {
    fn wait_target(self) -> WaitTarget {
        WaitTarget::Task { id: self.entry.id, spawned_at: self.spawned_at }
    }
}

/// The current task is not the parent of a child that it used. The violation is recorded.
#[derive(Debug)]
pub(crate) struct NotParent;

/// The nodes of the tasks that other domains have spawned on this one, by their ids, so that a
/// message can find them.
#[derive(Default)]
pub(super) struct RemoteChildren {
    slots: RefCell<HashMap<TaskId, Slot, BuildHasherDefault<IdHasher>>>,
}

impl RemoteChildren {
    pub(super) fn insert(&self, id: TaskId, slot: Slot) {
        self.slots.borrow_mut().insert(id, slot);
    }

    pub(super) fn remove(&self, id: TaskId) {
        self.slots.borrow_mut().remove(&id);
    }

    /// Returns the node of a task, unless it has completed.
    pub(super) fn get(&self, id: TaskId) -> Option<Slot> {
        self.slots.borrow().get(&id).copied()
    }
}

/// Asserts that a task is running, which can be the parent of a child. Not inside `Domain::with`:
/// the panic names the line of the caller, which a closure does not know.
#[inline]
#[track_caller]
pub(crate) fn assert_parent(parent: Slot) {
    assert_ne!(
        parent, NIL,
        "a child needs a parent: spawn inside a task of the run, or put the child into the group \
         of a task with `Orphans::spawner`"
    );
}

/// Adding tasks to the tree.
impl Domain {
    /// Returns the current task, which is about to spawn a child; `NIL` if no task is running,
    /// which [`assert_parent`] refuses.
    #[inline]
    pub(crate) fn spawn_parent(&self) -> Slot {
        self.scheduler.current()
    }

    /// Returns whether children of the current task may start.
    #[inline]
    pub(crate) fn may_start_children(&self, parent: Slot) -> bool {
        // fault: ending-task-spawns
        self.tree[parent].stage.get() == Stage::Running && !matou_ownership::in_finalizer()
    }

    /// Cancels a child before it starts, because its parent is ending, and reports that.
    ///
    /// Such a child was spawned by a destructor or a finalizer. These must not fail: a panic in one
    /// poisons the locks that it holds, and a second one in the same future ends the process. Nor
    /// must the child's future be dropped in the call, under whatever locks the caller holds. So it
    /// becomes a child like any other, and its parent waits for it.
    #[cold]
    pub(crate) fn refuse_child(&self, parent: Slot, child: Slot) {
        self.request_cancel(child, &self.parent_reason(parent));
        let (task, child) = (self.current_info(), ChildInfo::of(&self.tree[child]));
        self.report_finding(Finding::SpawnRefused { task, child });
    }

    /// Returns whether a task that has joined its children has got new ones in the meantime.
    pub(crate) fn has_new_children(&self) -> bool {
        self.current_node().live_children.get() != 0
    }

    /// Returns the id of the next task that this domain creates.
    #[inline]
    pub(crate) fn next_task_id(&self) -> TaskId {
        TaskId::new(self.index, self.task_count.add_created())
    }

    /// Adds a task of this domain to the tree and to the run queue.
    #[inline]
    pub(crate) fn insert_task(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
        owner: OwnerRef,
    ) -> (NodeKey, &Node) {
        let (slot, node) = self.tree.insert(id, spawned_at, parent);
        owner.set_slot(slot);
        node.run_state.set(RunState::Queued);
        node.owner_ref.put(owner);
        self.scheduler.enqueue(slot);
        (NodeKey { slot, id }, node)
    }

    /// Adds the proxy of a child that lives on another domain.
    pub(crate) fn insert_proxy(
        &self,
        id: TaskId,
        meta: TaskMeta,
        parent: Slot,
        remote_domain: u16,
    ) -> NodeKey {
        let (slot, node) = self.tree.insert(id, meta.spawned_at, Parent::Local(parent));
        node.remote_domain.set(Some(remote_domain));
        if let Some(name) = meta.name {
            node.name.put(name);
        }
        NodeKey { slot, id }
    }

    /// Returns a reference to the child at `entry`.
    #[inline]
    pub(crate) fn child_ref(
        &self,
        entry: NodeKey,
        spawned_at: &'static Location<'static>,
    ) -> ChildRef {
        ChildRef { entry, domain: self.index as u16, spawned_at }
    }

    /// Calls `f` with the node of a child that was just added.
    pub(crate) fn with_entry(&self, entry: NodeKey, f: impl FnOnce(&Node)) {
        f(self.tree.get(entry).expect("the child was just added"));
    }

    /// Picks the domain of the next `call`: each of the others in turn, or a random one in a
    /// simulated run.
    pub(crate) fn pick_target(&self, target: CallTarget) -> Option<usize> {
        let domains = self.run.domains();
        if self.simulation.is_some() && !matches!(target, CallTarget::Pinned(_)) {
            self.placement.shuffle(domains, &self.random);
        }
        let load = |domain: usize| self.run.remote(domain).load();
        let picked = self.placement.pick(self.index, domains, target, load)?;
        self.task_count.add_sent();
        Some(picked)
    }
}

/// Waiting for children and giving them up.
impl Domain {
    /// R2: returns the node of `child` if that is a child of the current task. `remote` is the
    /// handle of the domain that the child lives on.
    #[inline]
    fn own_child(&self, remote: &RemoteHandle, child: ChildRef) -> Option<&Node> {
        let node = self.tree.get(child.entry)?;
        // fault: any-task-may-await
        let is_own = node.parent.get().local() == Some(self.scheduler.current())
            // An equal key may exist on another domain, or in another run on this thread.
            // fault: foreign-promise-accepted
            && (self.has_handle(remote) || self.is_domain_of(remote, child.domain));
        is_own.then_some(node)
    }

    /// Waits until a child of the current task completes, and then frees its node. The caller takes
    /// the outcome.
    #[inline]
    pub(crate) fn poll_child(
        &self,
        remote: &RemoteHandle,
        child: ChildRef,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        ready!(self.poll_child_end(remote, child, site, cx));
        self.tree.remove(child.entry.slot).drop();
        Poll::Ready(())
    }

    /// Waits until a child of the current task completes.
    #[inline]
    pub(crate) fn poll_child_end(
        &self,
        remote: &RemoteHandle,
        child: ChildRef,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(node) = self.own_child(remote, child) else {
            self.raise_not_parent(child, site.location);
            // The violation cancels the current task, so it is not polled again.
            return Poll::Pending;
        };
        if node.is_complete() {
            // Otherwise a task that awaits many complete children would never yield.
            return matou_hooks::poll_budget(cx);
        }
        self.set_blocked_on(BlockedOn::new(site, child.wait_target()));
        // fault: polled-promise-forgotten
        node.mark_polled();
        // If the parent polls with its own waker, no waker is stored: the parent outlives the
        // child, and the domain finds it through the child's node.
        let is_parent = self.scheduler.is_current_waker(cx.waker());
        node.wake_parent.set(is_parent);
        if !is_parent {
            set_join_waker(node, cx.waker());
        } else if node.join_waker.is_some() {
            // This waker belongs to a combinator that polled earlier. Dropping it may run any code.
            drop(node.join_waker.take());
        }
        if self.has_waited_for_holder.get() {
            self.check_wait_cycle();
        }
        Poll::Pending
    }

    /// Returns whether a child of the current task is complete, without registering for it.
    pub(crate) fn child_is_complete(&self, entry: NodeKey) -> bool {
        self.tree.get(entry).is_some_and(Node::is_complete)
    }

    /// Returns the name of a child of this domain's tasks.
    pub(crate) fn child_name(&self, entry: NodeKey) -> Option<Arc<str>> {
        self.tree.get(entry)?.name()
    }

    /// Records that the promise of a child was polled.
    pub(crate) fn mark_polled(&self, entry: NodeKey) {
        if let Some(node) = self.tree.get(entry) {
            node.mark_polled();
        }
    }

    /// Frees the node of a complete child.
    #[inline]
    pub(crate) fn reap(&self, entry: NodeKey) {
        if self.child_is_complete(entry) {
            self.tree.remove(entry.slot).drop();
        }
    }

    /// Requests the cancellation of a child of the current task, which then waits for it.
    pub(crate) fn cancel_child(
        &self,
        remote: &RemoteHandle,
        child: ChildRef,
        cancelled: &Cancelled,
    ) -> Result<(), NotParent> {
        let Some(node) = self.own_child(remote, child) else {
            self.raise_not_parent(child, cancelled.at());
            return Err(NotParent);
        };
        node.handle_state.set(HandleState::Cancelling);
        self.request_cancel(child.entry.slot, cancelled);
        Ok(())
    }

    /// Records that no future waits for a child any more, which is no violation: the child was
    /// cancelled, or is a shield that goes on.
    pub(crate) fn detach_child(&self, entry: NodeKey) {
        if self.child_is_complete(entry) {
            self.reap(entry);
        } else if let Some(node) = self.tree.get(entry) {
            node.handle_state.set(HandleState::Detached);
        }
    }

    /// Records that no future waits for a child any more that the parent has cancelled.
    pub(crate) fn detach_cancelled(&self, entry: NodeKey) {
        self.detach_child(entry);
        self.cancel.note_given_up(entry);
    }

    /// Returns whether a promise that is dropped right now is given up whatever the run's settings
    /// are (R1): by a combinator, by a panic, or by a task that is ending.
    pub(crate) fn drop_is_abandonment(&self) -> bool {
        let current = self.scheduler.current();
        std::thread::panicking()
            // fault: abandoned-branch-forgotten
            || self.cancel.abandoning().is_some()
            || (current != NIL && self.tree[current].stage.get() != Stage::Running)
    }

    /// Handles the drop of a promise: the child is cancelled, and its parent waits for it before it
    /// completes. `abandoned` says that the promise was given up by its surroundings.
    pub(crate) fn promise_dropped(&self, entry: NodeKey, abandoned: bool) {
        let Some(node) = self.tree.get(entry) else { return };
        if !abandoned && self.run.config.forgotten == Forgotten::Strict {
            return self.forget_strictly(entry.slot, node);
        }
        if !abandoned && self.run.config.forgotten == Forgotten::Report {
            self.note_forgotten(node);
        }
        if node.is_complete() {
            return self.reap(entry);
        }
        node.handle_state.set(HandleState::Detached);
        self.request_cancel(entry.slot, &self.drop_reason(entry.slot));
        // fault: given-up-not-awaited
        self.cancel.note_given_up(entry);
    }

    /// Handles the drop of a promise in a run in which that is a violation: the node stays, for the
    /// parent to report it.
    fn forget_strictly(&self, slot: Slot, node: &Node) {
        node.handle_state.set(HandleState::Forgotten);
        if !node.is_complete() {
            self.request_cancel(slot, &self.drop_reason(slot));
        }
    }
}

/// Stores the waker of a future that waits for a child inside its parent. Only the most recent one
/// is woken.
pub(super) fn set_join_waker(child: &Node, waker: &Waker) {
    if !child.join_waker.peek(|known| known.is_some_and(|known| known.will_wake(waker))) {
        drop(child.join_waker.replace(Some(Box::new(waker.clone()))));
    }
}
