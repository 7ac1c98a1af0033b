//! Parents and children: who is made, asked to end, waited for, and told.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use matou_ownership::{Ledger, NotOwner, OwnerInfo, Resource};
use slab::Slab;

use super::{Domain, Message, RemoteHandle};
use crate::orphans::GroupState;
use crate::task::raw::OwnerRef;
use crate::task::{BlockedOn, WaitSite, WaitTarget};
use crate::task::{
    CancelAction, CancelKind, Cancelled, Completion, CompletionNotice, HandleState, NIL, Node,
    NodeKey, Parent, RunState, Slot, Stage, TaskId, TaskMeta, panics,
};
use crate::test::Happening;
use crate::violation::{ChildInfo, TaskInfo, Violation};

/// A parent's reference to a child: where its entry is, on which domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRef {
    pub(crate) entry: NodeKey,
    /// The parent's domain, which holds the entry.
    pub(crate) domain: u16,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl ChildRef {
    fn wait_target(self) -> WaitTarget {
        WaitTarget::Task { id: self.entry.id, spawned_at: self.spawned_at }
    }
}

/// Says that the current task is not the parent of a promise it used. The violation is recorded.
#[derive(Debug)]
pub(crate) struct NotParent;

impl Domain {
    /// The task that is about to become a parent.
    ///
    /// # Panics
    ///
    /// If no task runs, or the one that runs is ending: nobody could wait for its child.
    #[inline]
    #[track_caller]
    pub(crate) fn spawn_parent(&self) -> Slot {
        let current = self.current.get();
        assert_ne!(current, NIL, "a child needs a parent: spawn inside a task of the run");
        let living =
            self.tree[current].stage.get() == Stage::Running && !matou_ownership::in_finalizer();
        assert!(
            living,
            "a task that is ending cannot spawn: not in its drops, and no task in a finalizer"
        );
        current
    }

    /// The task that runs, as a key.
    pub(crate) fn current_key(&self) -> NodeKey {
        let slot = self.current.get();
        let id = if slot == NIL { TaskId::NONE } else { self.tree[slot].id.get() };
        NodeKey { slot, id }
    }

    #[inline]
    pub(crate) fn next_id(&self) -> TaskId {
        let count = self.tasks_created.get() + 1;
        self.tasks_created.set(count);
        TaskId::new(self.index, count)
    }

    /// Enters the proxy of a child that lives on domain `away`.
    pub(crate) fn insert_proxy(
        &self,
        id: TaskId,
        about: TaskMeta,
        parent: Slot,
        away: u16,
    ) -> NodeKey {
        let (slot, node) = self.tree.insert(id, about.spawned_at, Parent::Local(parent));
        node.remote_domain.set(Some(away));
        if let Some(name) = about.name {
            node.name.put(name);
        }
        NodeKey { slot, id }
    }

    /// Enters a task that lives here, and makes it ready.
    #[inline]
    pub(crate) fn insert_task(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
        own: OwnerRef,
    ) -> (NodeKey, &Node) {
        let (slot, node) = self.tree.insert(id, spawned_at, parent);
        own.set_slot(slot);
        node.run_state.set(RunState::Queued);
        node.owner_ref.put(own);
        self.enqueue(slot);
        (NodeKey { slot, id }, node)
    }

    /// Whether `waker` wakes the very task that is being polled.
    #[inline]
    pub(crate) fn is_current_waker(&self, waker: &Waker) -> bool {
        self.current_waker.get().belongs_to(waker)
    }

    /// Changes the entry of a child that was just made.
    pub(crate) fn with_entry(&self, entry: NodeKey, f: impl FnOnce(&Node)) {
        f(self.tree.get(entry).expect("the entry was just made"));
    }

    #[inline]
    pub(crate) fn child_ref(
        &self,
        entry: NodeKey,
        spawned_at: &'static Location<'static>,
    ) -> ChildRef {
        ChildRef { entry, domain: self.index as u16, spawned_at }
    }

    /// Puts a task into the ready queue, in which it is not yet.
    #[inline]
    pub(super) fn enqueue(&self, slot: Slot) {
        self.run_queue.borrow_mut().push(slot, self.current.get());
    }

    /// Wakes a task of this domain, unless it is over.
    #[inline]
    pub(super) fn wake(&self, slot: Slot) {
        if slot != NIL && self.tree[slot].wake() {
            self.enqueue(slot);
        }
    }

    /// Wakes a task of this domain, unless it is gone and its place free or used again.
    pub(super) fn wake_key(&self, key: NodeKey) {
        if self.tree.get(key).is_some_and(Node::wake) {
            self.enqueue(key.slot);
        }
    }

    /// Picks the domain of the next `call`: each of the others in turn, or any in a simulated run.
    pub(crate) fn pick_target(&self, pinned: Option<usize>) -> Option<usize> {
        let domains = self.run.domains();
        // fault: call-to-domain-zero
        // fault: call-to-own-domain
        let eligible = |&target: &usize| target != 0 && target != self.index && target < domains;
        if let Some(pinned) = pinned {
            return Some(pinned).filter(eligible);
        }
        if self.world.is_some() {
            self.next_target.set(self.random.below(domains));
        }
        let start = self.next_target.get();
        let target = (0..domains).map(|step| (start + step) % domains).find(eligible)?;
        self.next_target.set(target + 1);
        Some(target)
    }

    /// R2: the entry of `child`, if that is a child of the current task.
    #[inline]
    fn own_child(&self, remote: &RemoteHandle, child: ChildRef) -> Option<&Node> {
        let node = self.tree.get(child.entry)?;
        // fault: any-task-may-await
        let own_child = node.parent.get().local() == Some(self.current.get())
            // fault: foreign-promise-accepted
            && (std::ptr::eq(remote, &*self.remote) || self.is_domain_of(remote, child.domain));
        own_child.then_some(node)
    }

    /// Records that the current task used a promise of somebody else's child.
    #[cold]
    fn raise_not_parent(&self, child: ChildRef) {
        let task = self.current_info();
        let child = ChildInfo::escaped(child.entry.id, child.spawned_at);
        self.raise(Violation::NotAChild { task, child });
    }

    /// Records that the current task used a collector that belongs to task `owner`.
    pub(crate) fn raise_not_group_owner(&self, owner: TaskId, child: Option<ChildRef>) {
        let task = self.current_info();
        let child = match child {
            Some(child) => ChildInfo::escaped(child.entry.id, child.spawned_at),
            None => ChildInfo::escaped(owner, task.spawned_at),
        };
        self.raise(Violation::NotAChild { task, child });
    }

    /// Waits for the end of a child of the current task, and frees its entry. The caller takes the
    /// outcome.
    #[inline]
    pub(crate) fn poll_child(
        &self,
        remote: &RemoteHandle,
        child: ChildRef,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(node) = self.own_child(remote, child) else {
            self.raise_not_parent(child);
            // Never resumed: see `raise`.
            return Poll::Pending;
        };
        let slot = child.entry.slot;
        if node.is_complete() {
            let Some(left) = self.budget.get().checked_sub(1) else {
                return self.spend_budget(cx);
            };
            self.budget.set(left);
            self.tree.remove(slot).drop();
            return Poll::Ready(());
        }
        self.set_blocked_on(BlockedOn::new(site, child.wait_target()));
        // If the parent itself waits, it is there as long as its children are: no waker is needed.
        let itself = self.is_current_waker(cx.waker());
        node.wake_parent.set(itself);
        if !itself {
            note_awaiter(node, cx.waker());
        } else if node.join_waker.is_some() {
            drop(node.join_waker.take());
        }
        Poll::Pending
    }

    /// Whether a child of the current task has ended, without registering for it.
    pub(crate) fn child_is_complete(&self, entry: NodeKey) -> bool {
        self.tree.get(entry).is_some_and(Node::is_complete)
    }

    /// Frees the entry of a child whose outcome was taken.
    #[inline]
    pub(crate) fn reap(&self, entry: NodeKey) {
        if self.child_is_complete(entry) {
            self.tree.remove(entry.slot).drop();
        }
    }

    /// Asks for the end of a child, in the name of its parent.
    pub(crate) fn cancel_child(
        &self,
        remote: &RemoteHandle,
        child: ChildRef,
        cancelled: &Cancelled,
    ) -> Result<(), NotParent> {
        let Some(node) = self.own_child(remote, child) else {
            self.raise_not_parent(child);
            return Err(NotParent);
        };
        node.handle_state.set(HandleState::Cancelling);
        self.request_cancel(child.entry.slot, cancelled);
        Ok(())
    }

    /// Nobody waits any more for the end of a child: it was cancelled, or goes on all the same.
    pub(crate) fn detach_child(&self, entry: NodeKey) {
        if self.child_is_complete(entry) {
            self.reap(entry);
        } else if let Some(node) = self.tree.get(entry) {
            node.handle_state.set(HandleState::Detached);
        }
    }

    /// Whether a promise that is dropped right now is abandoned rather than forgotten (R1).
    pub(crate) fn drop_is_abandonment(&self) -> bool {
        let current = self.current.get();
        std::thread::panicking()
            // fault: abandoned-branch-forgotten
            || self.abandoning.get().is_some()
            || (current != NIL && self.tree[current].stage.get() != Stage::Running)
    }

    /// A promise was dropped: its child is cancelled, and its parent's end waits for that end.
    pub(crate) fn promise_dropped(&self, entry: NodeKey, abandoned: bool) {
        let abandoned = abandoned || self.run.config.forgotten == crate::run::Forgotten::Cancel;
        let claim = if abandoned { HandleState::Detached } else { HandleState::Forgotten };
        let Some(node) = self.tree.get(entry) else { return };
        node.handle_state.set(claim);
        match (node.is_complete(), abandoned) {
            (true, true) => self.reap(entry),
            (true, false) => {}
            (false, _) => self.request_cancel(entry.slot, &self.drop_reason(entry.slot)),
        }
    }

    pub(super) fn request_cancel(&self, slot: Slot, cancelled: &Cancelled) {
        match self.tree.request_cancel(slot, cancelled) {
            CancelAction::None => {}
            CancelAction::Wake => self.wake(slot),
            CancelAction::Shielded => self.start_shield_limit(slot, cancelled),
            CancelAction::Forward { domain, id } => {
                let cancelled = cancelled.clone();
                // fault: remote-child-ended-early
                // fault: remote-children-not-cancelled
                self.run.remote(usize::from(domain)).send(Message::Cancel { id, cancelled });
            }
        }
    }

    /// Ends the children of the current task and waits until the last one is over.
    ///
    /// After a normal end of the body none may be left that the parent did not deal with (R1).
    pub(crate) fn join_children(&self, normal: bool) -> Poll<()> {
        let current = self.current.get();
        let node = &self.tree[current];
        if node.stage.get() == Stage::Running {
            // What the task did in this very poll comes before what it left undone.
            self.raise_fault(matou_ownership::take_not_owner());
            let violated = self.current_violated();
            // fault: abnormal-end-is-forgetting
            // fault: unjoined-children-ignored
            if normal && !violated {
                // fault: handler-may-leave-children
                self.check_r1(current);
            }
            node.stage.set(Stage::Joining);
            // fault: abnormal-end-without-cancel
            self.cancel_children(current);
        }
        // fault: remote-subtree-not-awaited
        if node.live_children.get() == 0 {
            return Poll::Ready(());
        }
        self.set_blocked_on(BlockedOn::new(
            WaitSite::unlocated("the end of its children"),
            WaitTarget::Unknown,
        ));
        Poll::Pending
    }

    fn check_r1(&self, parent: Slot) {
        let children = self.tree.children(parent).map(|slot| &self.tree[slot]);
        let left = children.filter(|child| child.handle_state.get().is_leak());
        let children: Vec<ChildInfo> = left.map(ChildInfo::of).collect();
        if !children.is_empty() {
            let task = self.current_info();
            self.raise(Violation::StillHasChildren { task, children });
        }
    }

    fn cancel_children(&self, parent: Slot) {
        let mut child = self.tree[parent].first_child.get();
        if child == NIL {
            return;
        }
        let cancelled = self.parent_reason(parent);
        while child != NIL {
            // fault: handlers-outlive-root
            self.request_cancel(child, &cancelled);
            child = self.tree[child].next.get();
        }
    }

    /// Whether the current task broke a rule.
    fn current_violated(&self) -> bool {
        let why = self.current_node().cancel.peek(|cancelled| cancelled.map(Cancelled::kind));
        why == Some(CancelKind::Violation)
    }

    /// Records a violation of the current task: it is not resumed, and the run fails (R10).
    pub(crate) fn raise(&self, violation: Violation) {
        let current = self.current.get();
        if current != NIL {
            let cancelled = Cancelled::new(violation.reason());
            // fault: offender-resumed
            drop(self.tree[current].cancel.replace(Some(cancelled)));
        }
        self.run.raise(violation);
    }

    /// Records that the current task used what it does not own, if it did. Returns whether it did.
    pub(super) fn raise_fault(&self, fault: Option<NotOwner>) -> bool {
        let Some(fault) = fault else { return false };
        let task = self.current_info();
        // fault: foreign-use-ignored
        self.raise(Violation::NotOwner { task, error: fault });
        true
    }

    /// What a report says of the current task.
    pub(crate) fn current_info(&self) -> TaskInfo {
        let current = self.current.get();
        TaskInfo::of(&self.tree, current, self.index)
    }

    /// Closes the books of a task that is over, and tells its parent. It is no longer the current
    /// one.
    #[inline]
    pub(super) fn finish_task(&self, slot: Slot, node: &Node, ledger: Option<Arc<Ledger>>) {
        self.end_poll();
        self.witness(|_| Happening::Ended(node.id.get()));
        node.run_state.set(RunState::Idle);
        let bare = !node.cold.is_some() && node.first_child.get() == NIL && ledger.is_none();
        match bare.then(|| self.tree.complete_fast(node)).flatten() {
            Some(Some(parent)) => self.enqueue(parent),
            Some(None) => {}
            None => self.finish_slow(slot, ledger),
        }
    }

    fn finish_slow(&self, slot: Slot, ledger: Option<Arc<Ledger>>) {
        self.drop_cold(slot);
        self.free_children(slot);
        let transferred = ledger.map(|ledger| ledger.take_transferred()).unwrap_or_default();
        let node = &self.tree[slot];
        let (parent, id) = (node.parent.get(), node.id.get());
        match parent {
            Parent::None => {
                self.tree.remove(slot).drop();
                self.run.stop();
                self.stop();
            }
            Parent::Local(parent) => {
                self.deliver_transfers(parent, transferred);
                self.complete_entry(slot);
            }
            Parent::Remote { domain, proxy } => {
                self.remote_children.borrow_mut().remove(&id);
                self.tree.remove(slot).drop();
                let proxy = NodeKey { slot: proxy, id };
                self.run
                    .remote(usize::from(domain))
                    .send(Message::ChildCompleted { proxy, transferred });
            }
        }
    }

    fn free_children(&self, parent: Slot) {
        let parent = &self.tree[parent];
        while parent.first_child.get() != NIL {
            self.tree.remove(parent.first_child.get()).drop();
        }
    }

    /// Hands to a parent what its child transferred.
    pub(super) fn deliver_transfers(&self, parent: Slot, transferred: Vec<Arc<dyn Resource>>) {
        if transferred.is_empty() {
            return;
        }
        let node = &self.tree[parent];
        let make = || {
            let ledger = Ledger::new();
            ledger.set_owner(label_of(node));
            ledger
        };
        let ledger = node.ledger.update(|ledger| Arc::clone(ledger.get_or_insert_with(make)));
        ledger.receive(transferred);
    }

    /// Marks the end of a child in its parent's books and wakes who waits for it.
    pub(super) fn complete_entry(&self, slot: Slot) {
        self.notify_completion(self.tree.complete(slot));
    }

    fn notify_completion(&self, end: Completion) {
        let Completion { notice, ready, leftovers } = end;
        if let Some(leftovers) = leftovers {
            leftovers.drop();
        }
        match notice {
            CompletionNotice::None => {}
            // A waker of a foreign combinator may panic; the scheduler goes on.
            CompletionNotice::Wake(waker) => panics::wake(waker),
            CompletionNotice::Group { group, index } => self.notify_group(group, index),
        }
        if let Some(parent) = ready {
            self.enqueue(parent);
        }
    }

    /// Says whose the current ledger is. Usually that is said after the poll in which the ledger
    /// was made, but a child on another domain may meet what it owns before.
    pub(crate) fn label_current(&self) {
        if let Some(ledger) = matou_ownership::current_ledger()
            && ledger.owner().is_none()
        {
            ledger.set_owner(label_of(self.current_node()));
        }
    }

    fn notify_group(&self, group: u32, index: u32) {
        let ended = |groups: &mut Slab<GroupState>| {
            groups.get_mut(group as usize).map(|group| group.child_completed(index))
        };
        let ended = ended(&mut self.groups.borrow_mut());
        if let Some((waker, others)) = ended {
            waker.into_iter().chain(others).for_each(panics::wake);
        }
    }
}

pub(crate) fn label_of(node: &Node) -> OwnerInfo {
    label(node.id.get(), &node.about())
}

/// What a ledger says of its owner.
pub(crate) fn label(id: TaskId, about: &TaskMeta) -> OwnerInfo {
    OwnerInfo { id: id.as_u64(), name: about.name(), made_at: about.spawned_at }
}

/// Notes who waits for a child inside its parent: the last one who asks is the one that waits.
fn note_awaiter(child: &Node, waker: &Waker) {
    if !child.join_waker.peek(|known| known.is_some_and(|known| known.will_wake(waker))) {
        drop(child.join_waker.replace(Some(Box::new(waker.clone()))));
    }
}
