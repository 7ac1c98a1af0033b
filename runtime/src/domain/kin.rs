//! Parents and children: who is made, asked to end, waited for, and told.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use matou_ownership::{Ledger, NotOwner, OwnerInfo, Resource};
use slab::Slab;

use super::{Domain, Message, Port};
use crate::orphans::Collector;
use crate::task::cell::Own;
use crate::task::{
    About, Cancelled, Claim, End, Key, NONE, Node, Notice, Parent, Request, Sched, Slot, Stage,
    TaskId, Why, panics,
};
use crate::test::Happening;
use crate::violation::{ChildInfo, TaskInfo, Violation};
use crate::wait::{BlockedOn, WaitTarget};

/// A parent's reference to a child: where its entry is, on which domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRef {
    pub(crate) entry: Key,
    /// The parent's domain, which holds the entry.
    pub(crate) domain: u16,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl ChildRef {
    fn wait_on(self) -> WaitTarget {
        WaitTarget::Task { id: self.entry.id, spawned_at: self.spawned_at }
    }
}

/// Says that the current task is not the parent of a promise it used. The violation is recorded.
#[derive(Debug)]
pub(crate) struct NotMine;

impl Domain {
    /// The task that is about to become a parent.
    ///
    /// # Panics
    ///
    /// If no task runs, or the one that runs is ending: nobody could wait for its child.
    #[inline]
    #[track_caller]
    pub(crate) fn parent_to_be(&self) -> Slot {
        let current = self.current.get();
        assert_ne!(current, NONE, "a child needs a parent: spawn inside a task of the run");
        let living =
            self.tree[current].stage.get() == Stage::Living && !matou_ownership::in_finalizer();
        assert!(
            living,
            "a task that is ending cannot spawn: not in its drops, and no task in a finalizer"
        );
        current
    }

    /// The task that runs, as a key.
    pub(crate) fn current_key(&self) -> Key {
        let slot = self.current.get();
        let id = if slot == NONE { TaskId::NOBODY } else { self.tree[slot].id.get() };
        Key { slot, id }
    }

    #[inline]
    pub(crate) fn next_id(&self) -> TaskId {
        let count = self.tasks_made.get() + 1;
        self.tasks_made.set(count);
        TaskId::new(self.index, count)
    }

    /// Enters the proxy of a child that lives on domain `away`.
    pub(crate) fn insert_proxy(&self, id: TaskId, about: About, parent: Slot, away: u16) -> Key {
        let (slot, node) = self.tree.insert(id, about.spawned_at, Parent::Here(parent));
        node.away.set(Some(away));
        if let Some(name) = about.name {
            node.name.fill(name);
        }
        Key { slot, id }
    }

    /// Enters a task that lives here, and makes it ready.
    #[inline]
    pub(crate) fn begin_life(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
        own: Own,
    ) -> (Key, &Node) {
        let (slot, node) = self.tree.insert(id, spawned_at, parent);
        own.settle_at(slot);
        node.sched.set(Sched::Queued);
        node.own.fill(own);
        self.make_ready(slot);
        (Key { slot, id }, node)
    }

    /// Whether `waker` wakes the very task that is being polled.
    #[inline]
    pub(crate) fn is_current_waker(&self, waker: &Waker) -> bool {
        self.current_waker.get().is_of(waker)
    }

    /// Changes the entry of a child that was just made.
    pub(crate) fn with_entry(&self, entry: Key, f: impl FnOnce(&Node)) {
        f(self.tree.get(entry).expect("the entry was just made"));
    }

    #[inline]
    pub(crate) fn child_ref(&self, entry: Key, spawned_at: &'static Location<'static>) -> ChildRef {
        ChildRef { entry, domain: self.index as u16, spawned_at }
    }

    /// Puts a task into the ready queue, in which it is not yet.
    #[inline]
    pub(super) fn make_ready(&self, slot: Slot) {
        self.ready.borrow_mut().push(slot, self.current.get());
    }

    /// Wakes a task of this domain, unless it is over.
    #[inline]
    pub(super) fn wake(&self, slot: Slot) {
        if slot != NONE && self.tree[slot].wake() {
            self.make_ready(slot);
        }
    }

    /// Wakes a task of this domain, unless it is gone and its place free or used again.
    pub(super) fn wake_known(&self, key: Key) {
        if self.tree.get(key).is_some_and(Node::wake) {
            self.make_ready(key.slot);
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
    fn mine(&self, port: &Port, child: ChildRef) -> Option<&Node> {
        let node = self.tree.get(child.entry)?;
        // fault: any-task-may-await
        let mine = node.parent.get().here() == Some(self.current.get())
            // fault: foreign-promise-accepted
            && (std::ptr::eq(port, &*self.port) || self.is(port, child.domain));
        mine.then_some(node)
    }

    /// Records that the current task used a promise of somebody else's child.
    #[cold]
    fn raise_not_mine(&self, child: ChildRef) {
        let task = self.current_info();
        let child = ChildInfo::escaped(child.entry.id, child.spawned_at);
        self.raise(Violation::NotAChild { task, child });
    }

    /// Records that the current task used a collector that belongs to task `owner`.
    pub(crate) fn raise_not_a_child(&self, owner: TaskId, child: Option<ChildRef>) {
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
        port: &Port,
        child: ChildRef,
        (what, at): (&'static str, Option<&'static Location<'static>>),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(node) = self.mine(port, child) else {
            self.raise_not_mine(child);
            // Never resumed: see `raise`.
            return Poll::Pending;
        };
        let slot = child.entry.slot;
        if node.ended() {
            let Some(left) = self.budget.get().checked_sub(1) else {
                return self.spend(cx);
            };
            self.budget.set(left);
            self.tree.remove(slot).drop();
            return Poll::Ready(());
        }
        self.note_wait(BlockedOn { what, at, on: child.wait_on() });
        // If the parent itself waits, it is there as long as its children are: no waker is needed.
        let itself = self.is_current_waker(cx.waker());
        node.awaited.set(itself);
        if !itself {
            note_awaiter(node, cx.waker());
        } else if node.awaiter.is_full() {
            drop(node.awaiter.take());
        }
        Poll::Pending
    }

    /// Whether a child of the current task has ended, without registering for it.
    pub(crate) fn child_ended(&self, entry: Key) -> bool {
        self.tree.get(entry).is_some_and(Node::ended)
    }

    /// Frees the entry of a child whose outcome was taken.
    #[inline]
    pub(crate) fn reap(&self, entry: Key) {
        if self.child_ended(entry) {
            self.tree.remove(entry.slot).drop();
        }
    }

    /// Asks for the end of a child, in the name of its parent.
    pub(crate) fn cancel_child(
        &self,
        port: &Port,
        child: ChildRef,
        cancelled: &Cancelled,
    ) -> Result<(), NotMine> {
        let Some(node) = self.mine(port, child) else {
            self.raise_not_mine(child);
            return Err(NotMine);
        };
        node.claim.set(Claim::Cancelling);
        self.request_cancel(child.entry.slot, cancelled);
        Ok(())
    }

    /// Nobody waits any more for the end of a child: it was cancelled, or goes on all the same.
    pub(crate) fn waive(&self, entry: Key) {
        if self.child_ended(entry) {
            self.reap(entry);
        } else if let Some(node) = self.tree.get(entry) {
            node.claim.set(Claim::Waived);
        }
    }

    /// Whether a promise that is dropped right now is abandoned rather than forgotten (R1).
    pub(crate) fn is_abandonment(&self) -> bool {
        let current = self.current.get();
        std::thread::panicking()
            // fault: abandoned-branch-forgotten
            || self.abandoning.get().is_some()
            || (current != NONE && self.tree[current].stage.get() != Stage::Living)
    }

    /// A promise was dropped: its child is cancelled, and its parent's end waits for that end.
    pub(crate) fn promise_dropped(&self, entry: Key, abandoned: bool) {
        let abandoned = abandoned || self.run.config.forgotten == crate::run::Forgotten::Cancel;
        let claim = if abandoned { Claim::Waived } else { Claim::Forgotten };
        let Some(node) = self.tree.get(entry) else { return };
        node.claim.set(claim);
        match (node.ended(), abandoned) {
            (true, true) => self.reap(entry),
            (true, false) => {}
            (false, _) => self.request_cancel(entry.slot, &self.by_drop(entry.slot)),
        }
    }

    pub(super) fn request_cancel(&self, slot: Slot, cancelled: &Cancelled) {
        match self.tree.request_cancel(slot, cancelled) {
            Request::Nothing => {}
            Request::Wake => self.wake(slot),
            Request::Ask => self.ask_shield(slot, cancelled),
            Request::Tell { domain, id } => {
                let cancelled = cancelled.clone();
                // fault: remote-child-ended-early
                // fault: remote-children-not-cancelled
                self.run.port(usize::from(domain)).send(Message::Cancel { id, cancelled });
            }
        }
    }

    /// Ends the children of the current task and waits until the last one is over.
    ///
    /// After a normal end of the body none may be left that the parent did not deal with (R1).
    pub(crate) fn end_children(&self, normal: bool) -> Poll<()> {
        let current = self.current.get();
        let node = &self.tree[current];
        if node.stage.get() == Stage::Living {
            // What the task did in this very poll comes before what it left undone.
            self.raise_fault(matou_ownership::take_not_owner());
            let violated = self.current_violated();
            // fault: abnormal-end-is-forgetting
            // fault: unjoined-children-ignored
            if normal && !violated {
                // fault: handler-may-leave-children
                self.check_r1(current);
            }
            node.stage.set(Stage::Winding);
            // fault: abnormal-end-without-cancel
            self.cancel_children(current);
        }
        // fault: remote-subtree-not-awaited
        if node.live_children.get() == 0 {
            return Poll::Ready(());
        }
        self.note_wait(BlockedOn {
            what: "the end of its children",
            at: None,
            on: WaitTarget::Unknown,
        });
        Poll::Pending
    }

    fn check_r1(&self, parent: Slot) {
        let children = self.tree.children(parent).map(|slot| &self.tree[slot]);
        let left = children.filter(|child| child.claim.get().breaks_r1());
        let children: Vec<ChildInfo> = left.map(ChildInfo::of).collect();
        if !children.is_empty() {
            let task = self.current_info();
            self.raise(Violation::StillHasChildren { task, children });
        }
    }

    fn cancel_children(&self, parent: Slot) {
        let mut child = self.tree[parent].first_child.get();
        if child == NONE {
            return;
        }
        let cancelled = self.with_parent(parent);
        while child != NONE {
            // fault: handlers-outlive-root
            self.request_cancel(child, &cancelled);
            child = self.tree[child].next.get();
        }
    }

    /// Whether the current task broke a rule.
    fn current_violated(&self) -> bool {
        let why = self.current_node().cancel.look(|cancelled| cancelled.map(Cancelled::why));
        why == Some(Why::Violation)
    }

    /// Records a violation of the current task: it is not resumed, and the run fails (R10).
    pub(crate) fn raise(&self, violation: Violation) {
        let current = self.current.get();
        if current != NONE {
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
    pub(super) fn finish(&self, slot: Slot, node: &Node, ledger: Option<Arc<Ledger>>) {
        self.end_step();
        self.witness(|_| Happening::Ended(node.id.get()));
        node.sched.set(Sched::Idle);
        let bare = !node.rare.is_full() && node.first_child.get() == NONE && ledger.is_none();
        match bare.then(|| self.tree.end_plainly(node)).flatten() {
            Some(Some(parent)) => self.make_ready(parent),
            Some(None) => {}
            None => self.finish_in_full(slot, ledger),
        }
    }

    fn finish_in_full(&self, slot: Slot, ledger: Option<Arc<Ledger>>) {
        self.drop_rare(slot);
        self.free_children(slot);
        let bequest = ledger.map(|ledger| ledger.take_transferred()).unwrap_or_default();
        let node = &self.tree[slot];
        let (parent, id) = (node.parent.get(), node.id.get());
        match parent {
            Parent::Nobody => {
                self.tree.remove(slot).drop();
                self.run.stop();
                self.stop();
            }
            Parent::Here(parent) => {
                self.deliver(parent, bequest);
                self.end_entry(slot);
            }
            Parent::There { domain, proxy } => {
                self.called.borrow_mut().remove(&id);
                self.tree.remove(slot).drop();
                let proxy = Key { slot: proxy, id };
                self.run.port(usize::from(domain)).send(Message::Ended { proxy, bequest });
            }
        }
    }

    fn free_children(&self, parent: Slot) {
        let parent = &self.tree[parent];
        while parent.first_child.get() != NONE {
            self.tree.remove(parent.first_child.get()).drop();
        }
    }

    /// Hands to a parent what its child transferred.
    pub(super) fn deliver(&self, parent: Slot, bequest: Vec<Arc<dyn Resource>>) {
        if bequest.is_empty() {
            return;
        }
        let node = &self.tree[parent];
        let make = || {
            let ledger = Ledger::new();
            ledger.set_owner(label_of(node));
            ledger
        };
        let ledger = node.ledger.alter(|ledger| Arc::clone(ledger.get_or_insert_with(make)));
        ledger.receive(bequest);
    }

    /// Marks the end of a child in its parent's books and wakes who waits for it.
    pub(super) fn end_entry(&self, slot: Slot) {
        self.tell(self.tree.end(slot));
    }

    fn tell(&self, end: End) {
        let End { notice, ready, remains } = end;
        if let Some(remains) = remains {
            remains.drop();
        }
        match notice {
            Notice::None => {}
            // A waker of a foreign combinator may panic; the scheduler goes on.
            Notice::Wake(waker) => panics::wake(waker),
            Notice::Collector { collector, index } => self.collect(collector, index),
        }
        if let Some(parent) = ready {
            self.make_ready(parent);
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

    fn collect(&self, collector: u32, index: u32) {
        let ended = |collectors: &mut Slab<Collector>| {
            collectors.get_mut(collector as usize).map(|collector| collector.ended(index))
        };
        let ended = ended(&mut self.collectors.borrow_mut());
        if let Some((waker, others)) = ended {
            waker.into_iter().chain(others).for_each(panics::wake);
        }
    }
}

pub(crate) fn label_of(node: &Node) -> OwnerInfo {
    label(node.id.get(), &node.about())
}

/// What a ledger says of its owner.
pub(crate) fn label(id: TaskId, about: &About) -> OwnerInfo {
    OwnerInfo { id: id.as_u64(), name: about.name(), made_at: about.spawned_at }
}

/// Notes who waits for a child inside its parent: the last one who asks is the one that waits.
fn note_awaiter(child: &Node, waker: &Waker) {
    if !child.awaiter.look(|known| known.is_some_and(|known| known.will_wake(waker))) {
        drop(child.awaiter.replace(Some(Box::new(waker.clone()))));
    }
}
