//! Shields, deadlines, and futures that wait for a cancel request.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Domain, Message, Node, TimerTarget, offers};
use crate::locks::clone_waker;
use crate::panics;
use crate::task::{
    Cancelled, ColdState, NodeKey, ShieldState, Slot, Stage, TaskDeadline, TimeLimit,
};
use crate::waker_set::WakerKey;

/// The context that a child inherits from its parent.
impl Domain {
    /// Returns whether a child that the current task spawns now inherits anything.
    #[inline]
    pub(crate) fn has_inherited_context(&self, parent: Slot) -> bool {
        self.cancel.deadline().is_some() || self.tree[parent].cold.is_some()
    }

    /// Returns the context that a child spawned by the current task now inherits: the deadline of
    /// the running code, and a cancel request that has reached the parent.
    pub(crate) fn inherited_context(&self, parent: Slot) -> Option<Box<ColdState>> {
        let (requested, locals) = self.tree[parent].cold.peek(|cold| match cold {
            // fault: locals-not-inherited
            Some(cold) => (cold.cancel_requested.clone(), cold.locals.clone()),
            None => (None, None),
        });
        ColdState::for_child(self.cancel.deadline(), requested, locals)
    }

    /// Returns the deadline of the running code.
    pub(crate) fn deadline(&self) -> Option<TaskDeadline> {
        self.cancel.deadline()
    }

    /// Sets the deadline of the running code and returns the previous one.
    pub(crate) fn replace_deadline(&self, deadline: Option<TaskDeadline>) -> Option<TaskDeadline> {
        self.cancel.replace_deadline(deadline)
    }
}

/// Shields and the requests that reach them.
impl Domain {
    /// Makes a child that was just spawned a shield. Deadlines from outside do not apply in it.
    pub(crate) fn make_shield(&self, entry: NodeKey, limit: Duration) {
        self.with_entry(entry, |node| {
            node.with_cold(|cold| {
                cold.shield = Some(ShieldState { limit, cancel_requested: false });
                cold.deadline = None;
                cold.cancel_at = None;
            });
        });
    }

    /// Changes the time limit of a shield, unless the shield is complete.
    pub(crate) fn set_shield_limit(&self, entry: NodeKey, limit: Duration) {
        let Some(node) = self.tree.get(entry) else { return };
        node.cold.update(|cold| {
            if let Some(ColdState { shield: Some(shield), .. }) = cold.as_deref_mut() {
                shield.limit = limit;
            }
        });
    }

    /// Handles a cancel request for a shield. The first one starts the shield's time limit and
    /// informs the shielded task and its descendants.
    pub(super) fn request_shielded(&self, slot: Slot, cancelled: &Cancelled) {
        let node = &self.tree[slot];
        let limit = node.cold.update(|cold| {
            let shield = cold.as_mut()?.shield.as_mut()?;
            let was_requested = std::mem::replace(&mut shield.cancel_requested, true);
            (!was_requested).then_some(shield.limit)
        });
        let Some(limit) = limit else { return };
        // A limit beyond the range of the clock never expires.
        let cancel_at = self.now().checked_add(limit);
        let cancel_at = cancel_at.map(|end| TimeLimit::Shield(end, cancelled.after_shield()));
        drop(node.with_cold(|cold| std::mem::replace(&mut cold.cancel_at, cancel_at)));
        // fault: shield-limit-ignored
        self.arm_cancel_timer(slot, node);
        self.propagate_cancel_request(slot, cancelled);
    }

    /// Informs a task and all its descendants of a cancel request from which they are shielded.
    ///
    /// Only the first request is recorded in each task. Those on other domains are informed by a
    /// message to the child at the border. The walk is iterative: a tree may be deeper than the
    /// stack.
    pub(super) fn propagate_cancel_request(&self, slot: Slot, cancelled: &Cancelled) {
        let mut wakers = Vec::new();
        let mut pending = vec![slot];
        while let Some(slot) = pending.pop() {
            let node = &self.tree[slot];
            if node.is_complete() {
                continue;
            }
            if let Some(domain) = node.remote_domain.get() {
                let (id, cancelled) = (node.id.get(), cancelled.clone());
                let message = Message::CancelRequested { id, cancelled };
                // fault: remote-descendants-not-notified
                self.run.remote(usize::from(domain)).send(message);
                continue;
            }
            node.with_cold(|cold| {
                if cold.cancel_requested.is_none() {
                    cold.cancel_requested = Some(cancelled.clone());
                    cold.cancel_waiters.drain_into(&mut wakers);
                }
            });
            pending.extend(self.tree.children(slot));
        }
        // Only after the walk: a waker may run any code, which may change the tree.
        wakers.into_iter().for_each(panics::wake);
    }

    /// Returns the cancel request that has reached the current task. If there is none, `waker` is
    /// woken when one arrives.
    pub(crate) fn poll_cancel_request(
        &self,
        wait: &mut CancelWait,
        waker: &Waker,
    ) -> Option<Cancelled> {
        let task = self.current_key();
        if wait.task != Some(task) {
            // The future was polled by another task before.
            self.end_cancel_wait(wait);
            wait.task = Some(task);
        }
        let node = self.current_node();
        let (requested, is_known) = node.with_cold(|cold| {
            let is_known = cold.cancel_waiters.is_registered(&wait.key, waker);
            (cold.cancel_requested.clone(), is_known)
        });
        if requested.is_none() && !is_known {
            // Cloning and dropping may run any code, so both happen outside the cell.
            let waker = clone_waker(waker);
            drop(node.with_cold(|cold| cold.cancel_waiters.register(&mut wait.key, waker)));
        }
        requested
    }

    /// Removes the waker of a future that does not wait for a cancel request any more.
    pub(crate) fn end_cancel_wait(&self, wait: &mut CancelWait) {
        let CancelWait { task, mut key } = std::mem::take(wait);
        let Some(node) = task.and_then(|task| self.tree.get(task)) else { return };
        let waker = node.cold.update(|cold| cold.as_mut()?.cancel_waiters.remove(&mut key));
        panics::ignore(|| drop(waker));
    }
}

/// The registration of a future that waits for a cancel request.
#[derive(Debug, Default)]
pub(crate) struct CancelWait {
    task: Option<NodeKey>,
    key: WakerKey,
}

/// Tasks that are cancelled at a certain time.
impl Domain {
    /// Sets the timer that cancels a task. For a task that is being polled, that is done when it
    /// suspends.
    pub(super) fn arm_cancel_timer(&self, slot: Slot, node: &Node) {
        let unarmed = |cold: &ColdState| {
            cold.cancel_at.as_ref().filter(|_| cold.timer.is_none()).map(TimeLimit::at)
        };
        let Some(end) = node.cold.peek(|cold| cold.and_then(|cold| unarmed(cold))) else { return };
        if !node.owner_ref.is_some() {
            return;
        }
        let target = TimerTarget::Task(NodeKey { slot, id: node.id.get() });
        let timer = self.timers.insert(end, target);
        node.with_cold(|cold| cold.timer = Some(timer));
    }

    /// Cancels a task that is about to be polled if its deadline has elapsed.
    pub(super) fn check_cancel_deadline(&self, node: &Node) {
        let end: Option<Instant> =
            node.with_cold(|cold| cold.cancel_at.as_ref().map(TimeLimit::at));
        if end.is_none_or(|end| end > self.now()) {
            return;
        }
        let due = node.with_cold(|cold| cold.cancel_at.take());
        // A task that has returned, or was cancelled before, keeps that outcome.
        if let (Some(limit), false, Stage::Running) = (due, node.cancel.is_some(), node.stage.get())
        {
            node.cancel.put(limit.into_cancelled());
        }
    }

    /// Releases the timer and the wakers of a task that has completed.
    pub(super) fn drop_cold_state(&self, slot: Slot) {
        let Some(mut cold) = self.tree[slot].cold.take() else {
            return;
        };
        // The waiters of the task are gone, except one that another task holds and has not polled.
        cold.offers.take_all().into_iter().for_each(offers::decline_at_once);
        let target = cold.timer.and_then(|timer| self.timers.remove(timer));
        panics::ignore(|| drop(target));
        panics::ignore(|| drop(cold));
    }
}

/// Returns the deadline that a task inherited from its parent.
pub(super) fn inherited_deadline(node: &Node) -> Option<TaskDeadline> {
    node.cold.peek(|cold| cold.and_then(|cold| cold.deadline))
}
