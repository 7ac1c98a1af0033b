//! Tasks that are not ended at once: shields, deadlines, and who listens for a cancellation.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Domain, Message};
use crate::task::{Cancelled, Claim, Key, Limit, NONE, Node, Rare, Shielding, Slot, Stage, panics};

/// How many wakers a task's listeners keep before all are woken, so that those which nobody waits
/// with any more do not gather.
const LISTENERS_MAX: usize = 64;

impl Domain {
    /// What a child that the current task makes now is born with.
    #[inline]
    pub(crate) fn legacy(&self, parent: Slot) -> Option<Box<Rare>> {
        let deadline = self.deadline.get();
        let tree = self.tree.borrow();
        let rare = tree[parent].rare.as_ref();
        if deadline.is_none() && rare.is_none() {
            return None;
        }
        Rare::inherited(deadline, rare.and_then(|rare| rare.asked.clone()))
    }

    /// The deadline that the present code has to keep.
    pub(crate) fn deadline(&self) -> Option<Limit> {
        self.deadline.get()
    }

    /// Makes `limit` the deadline of the present code, and returns the one before.
    pub(crate) fn replace_deadline(&self, limit: Option<Limit>) -> Option<Limit> {
        self.deadline.replace(limit)
    }

    /// Makes a child that was just made a shield. Deadlines from outside do not hold in it.
    pub(crate) fn raise_shield(&self, entry: Key, limit: Duration) {
        self.with_entry(entry, |node| {
            let rare = node.rare.get_or_insert_default();
            rare.shielding = Some(Shielding { limit, asked: false });
            rare.deadline = None;
            rare.end_by = None;
        });
    }

    /// Changes the time limit of a shield, unless it is over.
    pub(crate) fn limit_shield(&self, entry: Key, limit: Duration) {
        let mut tree = self.tree.borrow_mut();
        let rare = tree.get_mut(entry).and_then(|node| node.rare.as_mut());
        if let Some(shielding) = rare.and_then(|rare| rare.shielding.as_mut()) {
            shielding.limit = limit;
        }
    }

    /// Nobody waits any more for a child that goes on all the same.
    pub(crate) fn let_go(&self, entry: Key) {
        if self.child_ended(entry) {
            self.reap(entry);
        } else if let Some(node) = self.tree.borrow_mut().get_mut(entry) {
            node.claim = Claim::Waived;
        }
    }

    /// The end of a shielded task was asked for: from now on its time is limited.
    pub(super) fn ask_shield(&self, slot: Slot, cancelled: &Cancelled) {
        let limit = {
            let mut tree = self.tree.borrow_mut();
            let rare = tree[slot].rare.as_mut();
            let Some(shielding) = rare.and_then(|rare| rare.shielding.as_mut()) else { return };
            if std::mem::replace(&mut shielding.asked, true) {
                return;
            }
            shielding.limit
        };
        // Beyond what the clock can tell there is no limit.
        let end_by = self.now().checked_add(limit).map(|end| (end, cancelled.after_shield()));
        if let Some(rare) = &mut self.tree.borrow_mut()[slot].rare {
            rare.end_by = end_by;
        }
        self.set_end_timer(slot);
        self.tell_asked(slot, cancelled);
    }

    /// Tells a task and all that descends from it that its end was asked for, without recursion.
    pub(super) fn tell_asked(&self, slot: Slot, cancelled: &Cancelled) {
        let mut wakers = Vec::new();
        let mut left = vec![slot];
        while let Some(slot) = left.pop() {
            let mut tree = self.tree.borrow_mut();
            let node = &mut tree[slot];
            if node.ended() {
                continue;
            }
            if let Some(domain) = node.away {
                let (id, cancelled) = (node.id, cancelled.clone());
                drop(tree);
                self.run.port(usize::from(domain)).send(Message::Ask { id, cancelled });
                continue;
            }
            let rare = node.rare.get_or_insert_default();
            if rare.asked.is_none() {
                rare.asked = Some(cancelled.clone());
                wakers.append(&mut rare.listeners);
            }
            left.extend(tree.children(slot));
        }
        wakers.into_iter().for_each(panics::wake);
    }

    /// Whether the end of the current task was asked for; if not, `waker` is woken when it is.
    pub(crate) fn poll_asked(&self, waker: &Waker) -> Option<Cancelled> {
        let mut tree = self.tree.borrow_mut();
        let rare = tree[self.current.get()].rare.get_or_insert_default();
        if rare.asked.is_some() {
            return rare.asked.clone();
        }
        if rare.listeners.iter().any(|known| known.will_wake(waker)) {
            return None;
        }
        let full = rare.listeners.len() >= LISTENERS_MAX;
        let stale = if full { std::mem::take(&mut rare.listeners) } else { Vec::new() };
        rare.listeners.push(waker.clone());
        drop(tree);
        stale.into_iter().for_each(panics::wake);
        None
    }

    /// Sets the timer that ends a task in time. For a task that runs that is done when it pauses.
    pub(super) fn set_end_timer(&self, slot: Slot) {
        let mut tree = self.tree.borrow_mut();
        let node = &mut tree[slot];
        let (Some(rare), Some(own)) = (&mut node.rare, &node.own) else { return };
        if let (None, Some((end, _))) = (rare.timer, &rare.end_by) {
            rare.timer = Some(self.port().timers().insert(*end, own.waker()));
        }
    }

    /// Whether the time of a task is over. Then it is cancelled.
    pub(super) fn check_end_by(&self, slot: Slot) {
        let end = |node: &Node| node.rare.as_ref()?.end_by.as_ref().map(|(end, _)| *end);
        let end: Option<Instant> = end(&self.tree.borrow()[slot]);
        if end.is_none_or(|end| end > self.now()) {
            return;
        }
        let mut tree = self.tree.borrow_mut();
        let node = &mut tree[slot];
        let due = node.rare.as_mut().and_then(|rare| rare.end_by.take());
        if let (Some((_, cancelled)), None, Stage::Living) = (due, &node.cancel, node.stage) {
            node.cancel = Some(cancelled);
        }
    }

    /// Takes back what a task that has ended still has to do with the world.
    pub(super) fn drop_rare(&self, slot: Slot) {
        let Some(rare) = self.tree.borrow_mut()[slot].rare.take() else {
            return;
        };
        let timer = rare.timer.and_then(|timer| self.port().timers().remove(timer));
        panics::ignore(|| drop((timer, rare)));
    }

    /// The deadline that the task at `slot` was born with.
    pub(super) fn born_with(&self, slot: Slot) -> Option<Limit> {
        debug_assert_ne!(slot, NONE);
        self.tree.borrow()[slot].rare.as_ref().and_then(|rare| rare.deadline)
    }
}
