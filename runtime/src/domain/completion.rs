//! How a task completes: its children first, then its finalizers, then its parent is notified.
//!
//! The first two steps happen inside polls of the task ([`Domain::join_children`],
//! `finalize`), the last one after its final poll ([`Domain::finish_task`]).

use std::sync::Arc;
use std::task::{Poll, ready};

use matou_ownership::{Ledger, OwnerInfo};

use super::forgotten::LastPoll;
use super::{Domain, Message, Node};
use crate::panics;
use crate::simulation::EventKind;
use crate::task::{
    BlockedOn, Completion, CompletionNotice, FastCompletion, NIL, NodeKey, Parent, RunState, Slot,
    Stage, TaskId, TaskMeta, WaitSite, WaitTarget,
};

impl Domain {
    /// Cancels the children of the current task, whose body has returned or is cancelled, and waits
    /// until the last one is complete. `normal` says that the body has returned a value.
    pub(crate) fn join_children(&self, normal: bool) -> Poll<()> {
        let current = self.scheduler.current();
        let node = &self.tree[current];
        if node.stage.get() == Stage::Running {
            // A misused resource in this very poll is reported first: it makes the end abnormal.
            self.raise_recorded_not_owner();
            let violated = self.current_has_violated();
            // An abnormal end may leave children: only a normal one claims to have joined them
            // (R1).
            // fault: abnormal-end-is-forgetting
            // fault: unjoined-children-ignored
            if normal && !violated {
                self.report_forgotten(LastPoll::Yes);
                // fault: handler-may-leave-children
                ready!(self.check_unjoined_children(current));
            }
            self.forgotten.clear();
            node.stage.set(Stage::Joining);
            // fault: abnormal-end-without-cancel
            self.cancel_children(current);
        }
        // The last child to complete wakes a parent in this stage.
        // fault: remote-subtree-not-awaited
        if node.live_children.get() == 0 {
            return Poll::Ready(());
        }
        if node.live_children.get() == node.daemons() {
            self.cancel_daemons(current);
        }
        // The task may have joined its children before, and a destructor or a finalizer has spawned
        // another one. In this stage the last child to complete wakes its parent.
        node.stage.set(Stage::Joining);
        let site = WaitSite::unlocated("the end of its children");
        self.set_blocked_on(BlockedOn::new(site, WaitTarget::Unknown));
        Poll::Pending
    }

    /// Finishes a task after its last poll: releases the contents of its node and notifies its
    /// parent.
    #[inline]
    pub(super) fn finish_task(&self, slot: Slot, node: &Node, ledger: Option<Arc<Ledger>>) {
        // This comes first, so that a parent that is woken here does not count as having woken
        // itself.
        self.end_poll();
        self.record_event(|_| EventKind::TaskCompleted(node.id.get()));
        self.task_count.add_completed();
        node.run_state.set(RunState::Idle);
        // Most tasks hold nothing, and the only one that waits for them is their parent.
        let is_bare = !node.cold.is_some() && node.first_child.get() == NIL && ledger.is_none();
        let fast = match is_bare {
            true => self.tree.complete_fast(node),
            false => FastCompletion::NotApplicable,
        };
        match fast {
            FastCompletion::Queue(parent) => self.scheduler.enqueue(parent),
            FastCompletion::Done => {}
            FastCompletion::NotApplicable => self.finish_task_slow(slot, ledger),
        }
    }

    fn finish_task_slow(&self, slot: Slot, ledger: Option<Arc<Ledger>>) {
        // The last poll may have been a probe.
        drop(self.probe.take());
        self.drop_cold_state(slot);
        // All of them are complete; their promises were abandoned or are gone with the body.
        self.free_children(slot);
        let transferred = ledger.map(|ledger| ledger.take_transferred()).unwrap_or_default();
        let node = &self.tree[slot];
        let (parent, id) = (node.parent.get(), node.id.get());
        match parent {
            // The root: the run is over.
            Parent::None => {
                self.tree.complete_unlisted(slot).drop();
                panics::drop_each(transferred);
                self.run.stop();
                self.stop();
            }
            Parent::Local(parent) => {
                // Before the notification, so that the parent owns the resources when it wakes.
                self.deliver_transfers(parent, transferred);
                self.complete_entry(slot);
            }
            Parent::Remote { domain, proxy } => {
                self.remote_children.remove(id);
                self.tree.complete_unlisted(slot).drop();
                let proxy = NodeKey { slot: proxy, id };
                let message = Message::ChildCompleted { proxy, transferred };
                self.publish_task_count();
                self.run.remote(usize::from(domain)).send(message);
            }
        }
    }

    fn free_children(&self, parent: Slot) {
        let parent = &self.tree[parent];
        while parent.first_child.get() != NIL {
            self.tree.remove(parent.first_child.get()).drop();
        }
    }

    /// Marks the child at `slot`, a task or a proxy, as complete and wakes the tasks that wait for
    /// it.
    pub(super) fn complete_entry(&self, slot: Slot) {
        let Completion { notice, ready, leftovers } = self.tree.complete(slot);
        // The parent is queued before any other code runs: it is marked as queued already.
        if let Some(parent) = ready {
            self.scheduler.enqueue(parent);
        }
        if let Some(leftovers) = leftovers {
            leftovers.drop();
        }
        match notice {
            CompletionNotice::None => {}
            // A panic in the waker of a foreign combinator does not reach the scheduler.
            CompletionNotice::Wake(waker) => panics::wake(waker),
            CompletionNotice::Group { group, index } => {
                if let Some(discarded) = self.groups.child_completed(group, index) {
                    self.reap(discarded);
                }
            }
        }
    }

    /// Sets the owner of the current ledger. Usually that is done after the poll in which the
    /// ledger was created, but a child on another domain may use its resources before.
    pub(crate) fn set_ledger_owner(&self) {
        if let Some(ledger) = matou_ownership::current_ledger()
            && ledger.owner().is_none()
        {
            ledger.set_owner(owner_info_of(self.current_node()));
        }
    }
}

pub(super) fn owner_info_of(node: &Node) -> OwnerInfo {
    owner_info(node.id.get(), &node.meta())
}

/// Returns the description of a ledger's owner.
pub(crate) fn owner_info(id: TaskId, meta: &TaskMeta) -> OwnerInfo {
    OwnerInfo { id: id.as_u64(), name: meta.name(), made_at: meta.spawned_at }
}
