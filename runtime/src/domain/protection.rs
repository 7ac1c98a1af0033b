//! Tasks that are not ended at once: shields, deadlines, and who listens for a cancellation.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Domain, Message};
use crate::task::{Cancelled, Key, Limit, Node, Rare, Shielding, Slot, Stage, panics};
use crate::time::Sleeper;

/// How many wakers a task's listeners keep before all are woken, so that those which nobody waits
/// with any more do not gather.
const LISTENERS_MAX: usize = 64;

impl Domain {
    /// Whether a child that the current task makes now may be born with any of that.
    #[inline]
    pub(crate) fn has_legacy(&self, parent: Slot) -> bool {
        self.deadline.get().is_some() || self.tree[parent].rare.is_full()
    }

    /// What a child that the current task makes now is born with.
    pub(crate) fn legacy(&self, parent: Slot) -> Option<Box<Rare>> {
        let asked = self.tree[parent].rare.look(|rare| rare.and_then(|rare| rare.asked.clone()));
        Rare::inherited(self.deadline.get(), asked)
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
            node.with_rare(|rare| {
                rare.shielding = Some(Shielding { limit, asked: false });
                rare.deadline = None;
                rare.end_by = None;
            });
        });
    }

    /// Changes the time limit of a shield, unless it is over.
    pub(crate) fn limit_shield(&self, entry: Key, limit: Duration) {
        let Some(node) = self.tree.get(entry) else { return };
        node.rare.alter(|rare| {
            if let Some(Rare { shielding: Some(shielding), .. }) = rare.as_deref_mut() {
                shielding.limit = limit;
            }
        });
    }

    /// The end of a shielded task was asked for: from now on its time is limited.
    pub(super) fn ask_shield(&self, slot: Slot, cancelled: &Cancelled) {
        let node = &self.tree[slot];
        let limit = node.rare.alter(|rare| {
            let shielding = rare.as_mut()?.shielding.as_mut()?;
            let asked = std::mem::replace(&mut shielding.asked, true);
            (!asked).then_some(shielding.limit)
        });
        let Some(limit) = limit else { return };
        // Beyond what the clock can tell there is no limit.
        let end_by = self.now().checked_add(limit).map(|end| (end, cancelled.after_shield()));
        drop(node.with_rare(|rare| std::mem::replace(&mut rare.end_by, end_by)));
        // fault: shield-limit-ignored
        self.set_end_timer(slot, node);
        self.tell_asked(slot, cancelled);
    }

    /// Tells a task and all that descends from it that its end was asked for, without recursion.
    pub(super) fn tell_asked(&self, slot: Slot, cancelled: &Cancelled) {
        let mut wakers = Vec::new();
        let mut left = vec![slot];
        while let Some(slot) = left.pop() {
            let node = &self.tree[slot];
            if node.ended() {
                continue;
            }
            if let Some(domain) = node.away.get() {
                let (id, cancelled) = (node.id.get(), cancelled.clone());
                // fault: remote-descendants-not-notified
                self.run.port(usize::from(domain)).send(Message::Ask { id, cancelled });
                continue;
            }
            node.with_rare(|rare| {
                if rare.asked.is_none() {
                    rare.asked = Some(cancelled.clone());
                    wakers.append(&mut rare.listeners);
                }
            });
            left.extend(self.tree.children(slot));
        }
        wakers.into_iter().for_each(panics::wake);
    }

    /// Whether the end of the current task was asked for; if not, `waker` is woken when it is.
    pub(crate) fn poll_asked(&self, waker: &Waker) -> Option<Cancelled> {
        let node = self.current_node();
        let asked = node.with_rare(|rare| {
            let known = rare.listeners.iter().any(|known| known.will_wake(waker));
            (rare.asked.clone(), known)
        });
        if let (None, false) = asked {
            // A foreign waker may run anything when it is cloned.
            let waker = waker.clone();
            let stale = node.with_rare(|rare| {
                let full = rare.listeners.len() >= LISTENERS_MAX;
                let stale = if full { std::mem::take(&mut rare.listeners) } else { Vec::new() };
                rare.listeners.push(waker);
                stale
            });
            stale.into_iter().for_each(panics::wake);
        }
        asked.0
    }

    /// Sets the timer that ends a task in time. For a task that runs that is done when it pauses.
    pub(super) fn set_end_timer(&self, slot: Slot, node: &Node) {
        let end =
            |rare: &Rare| rare.end_by.as_ref().filter(|_| rare.timer.is_none()).map(|by| by.0);
        let Some(end) = node.rare.look(|rare| rare.and_then(|rare| end(rare))) else { return };
        if !node.own.is_full() {
            return;
        }
        let sleeper = Sleeper::Task(Key { slot, id: node.id.get() });
        let timer = self.timers.borrow_mut().insert(end, sleeper);
        node.with_rare(|rare| rare.timer = Some(timer));
    }

    /// Whether the time of a task is over. Then it is cancelled.
    pub(super) fn check_end_by(&self, node: &Node) {
        let end: Option<Instant> = node.with_rare(|rare| rare.end_by.as_ref().map(|by| by.0));
        if end.is_none_or(|end| end > self.now()) {
            return;
        }
        let due = node.with_rare(|rare| rare.end_by.take());
        if let (Some((_, cancelled)), false, Stage::Living) =
            (due, node.cancel.is_full(), node.stage.get())
        {
            node.cancel.fill(cancelled);
        }
    }

    /// Takes back what a task that has ended still has to do with the world.
    pub(super) fn drop_rare(&self, slot: Slot) {
        let Some(rare) = self.tree[slot].rare.take() else {
            return;
        };
        let timer = rare.timer.and_then(|timer| self.timers.borrow_mut().remove(timer));
        panics::ignore(|| drop((timer, rare)));
    }
}

/// The deadline that a task was born with.
pub(super) fn born_with(node: &Node) -> Option<Limit> {
    node.rare.look(|rare| rare.and_then(|rare| rare.deadline))
}
