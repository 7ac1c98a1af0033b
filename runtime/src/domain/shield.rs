//! Tasks that are not ended at once: shields, deadlines, and who listens for a cancellation.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Domain, Message, TimerTarget};
use crate::task::{
    Cancelled, ColdState, Node, NodeKey, ShieldState, Slot, Stage, TaskDeadline, panics,
};

/// How many wakers a task's listeners keep before all are woken, so that those which nobody waits
/// with any more do not gather.
const CANCEL_WAKERS_MAX: usize = 64;

impl Domain {
    /// Whether a child that the current task makes now may be born with any of that.
    #[inline]
    pub(crate) fn has_inherited_context(&self, parent: Slot) -> bool {
        self.deadline.get().is_some() || self.tree[parent].cold.is_some()
    }

    /// What a child that the current task makes now is born with.
    pub(crate) fn inherited_context(&self, parent: Slot) -> Option<Box<ColdState>> {
        let cancel_requested =
            self.tree[parent].cold.peek(|cold| cold.and_then(|cold| cold.cancel_requested.clone()));
        ColdState::for_child(self.deadline.get(), cancel_requested)
    }

    /// The deadline that the present code has to keep.
    pub(crate) fn deadline(&self) -> Option<TaskDeadline> {
        self.deadline.get()
    }

    /// Makes `limit` the deadline of the present code, and returns the one before.
    pub(crate) fn replace_deadline(&self, limit: Option<TaskDeadline>) -> Option<TaskDeadline> {
        self.deadline.replace(limit)
    }

    /// Makes a child that was just made a shield. Deadlines from outside do not hold in it.
    pub(crate) fn make_shield(&self, entry: NodeKey, limit: Duration) {
        self.with_entry(entry, |node| {
            node.with_cold(|cold| {
                cold.shield = Some(ShieldState { limit, cancel_requested: false });
                cold.deadline = None;
                cold.cancel_at = None;
            });
        });
    }

    /// Changes the time limit of a shield, unless it is over.
    pub(crate) fn set_shield_limit(&self, entry: NodeKey, limit: Duration) {
        let Some(node) = self.tree.get(entry) else { return };
        node.cold.update(|cold| {
            if let Some(ColdState { shield: Some(shield), .. }) = cold.as_deref_mut() {
                shield.limit = limit;
            }
        });
    }

    /// The end of a shielded task was asked for: from now on its time is limited.
    pub(super) fn start_shield_limit(&self, slot: Slot, cancelled: &Cancelled) {
        let node = &self.tree[slot];
        let limit = node.cold.update(|cold| {
            let shield = cold.as_mut()?.shield.as_mut()?;
            let cancel_requested = std::mem::replace(&mut shield.cancel_requested, true);
            (!cancel_requested).then_some(shield.limit)
        });
        let Some(limit) = limit else { return };
        // Beyond what the clock can tell there is no limit.
        let cancel_at = self.now().checked_add(limit).map(|end| (end, cancelled.after_shield()));
        drop(node.with_cold(|cold| std::mem::replace(&mut cold.cancel_at, cancel_at)));
        // fault: shield-limit-ignored
        self.arm_cancel_timer(slot, node);
        self.propagate_cancel_request(slot, cancelled);
    }

    /// Tells a task and all that descends from it that its end was asked for, without recursion.
    pub(super) fn propagate_cancel_request(&self, slot: Slot, cancelled: &Cancelled) {
        let mut wakers = Vec::new();
        let mut left = vec![slot];
        while let Some(slot) = left.pop() {
            let node = &self.tree[slot];
            if node.is_complete() {
                continue;
            }
            if let Some(domain) = node.remote_domain.get() {
                let (id, cancelled) = (node.id.get(), cancelled.clone());
                // fault: remote-descendants-not-notified
                self.run
                    .remote(usize::from(domain))
                    .send(Message::CancelRequested { id, cancelled });
                continue;
            }
            node.with_cold(|cold| {
                if cold.cancel_requested.is_none() {
                    cold.cancel_requested = Some(cancelled.clone());
                    wakers.append(&mut cold.cancel_wakers);
                }
            });
            left.extend(self.tree.children(slot));
        }
        wakers.into_iter().for_each(panics::wake);
    }

    /// Whether the end of the current task was asked for; if not, `waker` is woken when it is.
    pub(crate) fn poll_cancel_request(&self, waker: &Waker) -> Option<Cancelled> {
        let node = self.current_node();
        let cancel_requested = node.with_cold(|cold| {
            let known = cold.cancel_wakers.iter().any(|known| known.will_wake(waker));
            (cold.cancel_requested.clone(), known)
        });
        if let (None, false) = cancel_requested {
            // A foreign waker may run anything when it is cloned.
            let waker = waker.clone();
            let stale = node.with_cold(|cold| {
                let full = cold.cancel_wakers.len() >= CANCEL_WAKERS_MAX;
                let stale = if full { std::mem::take(&mut cold.cancel_wakers) } else { Vec::new() };
                cold.cancel_wakers.push(waker);
                stale
            });
            stale.into_iter().for_each(panics::wake);
        }
        cancel_requested.0
    }

    /// Sets the timer that ends a task in time. For a task that runs that is done when it pauses.
    pub(super) fn arm_cancel_timer(&self, slot: Slot, node: &Node) {
        let end = |cold: &ColdState| {
            cold.cancel_at.as_ref().filter(|_| cold.timer.is_none()).map(|by| by.0)
        };
        let Some(end) = node.cold.peek(|cold| cold.and_then(|cold| end(cold))) else { return };
        if !node.owner_ref.is_some() {
            return;
        }
        let target = TimerTarget::Task(NodeKey { slot, id: node.id.get() });
        let timer = self.timers.borrow_mut().insert(end, target);
        node.with_cold(|cold| cold.timer = Some(timer));
    }

    /// Whether the time of a task is over. Then it is cancelled.
    pub(super) fn check_cancel_deadline(&self, node: &Node) {
        let end: Option<Instant> = node.with_cold(|cold| cold.cancel_at.as_ref().map(|by| by.0));
        if end.is_none_or(|end| end > self.now()) {
            return;
        }
        let due = node.with_cold(|cold| cold.cancel_at.take());
        if let (Some((_, cancelled)), false, Stage::Running) =
            (due, node.cancel.is_some(), node.stage.get())
        {
            node.cancel.put(cancelled);
        }
    }

    /// Takes back what a task that has ended still has to do with the world.
    pub(super) fn drop_cold(&self, slot: Slot) {
        let Some(cold) = self.tree[slot].cold.take() else {
            return;
        };
        let timer = cold.timer.and_then(|timer| self.timers.borrow_mut().remove(timer));
        panics::ignore(|| drop((timer, cold)));
    }
}

/// The deadline that a task was born with.
pub(super) fn inherited_deadline(node: &Node) -> Option<TaskDeadline> {
    node.cold.peek(|cold| cold.and_then(|cold| cold.deadline))
}
