//! Circles of waits over the tasks of this domain (R14).
//!
//! A wait that closes a circle through the current task is a suspicion. It becomes a finding once
//! it is certain that no task of the circle waits for anything else: a task that terminates waits
//! for its children and is not polled; every other one is polled once more, see
//! [`task::probe`](crate::task::probe). That poll also reads the holders of locks again.

use std::task::Waker;

use super::{Domain, Node};
use crate::diagnostic::{CycleMember, Finding, TaskInfo};
use crate::task::probe::Probe;
use crate::task::{RunState, Slot, Stage, WaitTarget};

/// The most tasks of a circle that is looked for.
const MEMBERS_MAX: usize = 64;

/// The wait of a task for another one.
enum Dependency {
    /// A task on this domain.
    Task(Slot),
    /// All its descendants, one of which is the task at the beginning of the circle.
    Descendants,
}

impl Domain {
    /// Called when the current task has recorded a wait that other tasks can end.
    pub(super) fn check_wait_cycle(&self) {
        let current = self.scheduler.current();
        if self.probe.borrow().is_some() || !self.closes_cycle(current) {
            return;
        }
        let node = &self.tree[current];
        let target = node.blocked_on.get().target;
        if !node.with_cold(|cold| cold.suspicion.record(target)) {
            return;
        }
        if node.stage.get() == Stage::Finalizing {
            // Nothing but the finalizers of the task is polled, so there is nothing to examine.
            self.report_wait_cycle(current);
        } else {
            // fault: circle-not-examined
            self.for_each_in_cycle(current, |member| self.request_probe(member));
        }
    }

    /// Has a task polled once more with a waker that counts its clones.
    fn request_probe(&self, slot: Slot) {
        let node = &self.tree[slot];
        if !is_terminating(node) {
            node.with_cold(|cold| cold.suspicion.is_due = true);
            self.wake(slot);
        }
    }

    /// Begins a poll of a task with cold state, which may be a probe. Returns whether it is.
    #[cold]
    pub(super) fn begin_probe(&self, node: &Node) -> bool {
        node.with_cold(|cold| {
            cold.suspicion.is_confirmed = false;
            std::mem::take(&mut cold.suspicion.is_due)
        })
    }

    /// Returns the waker for a poll that is a probe.
    pub(crate) fn probe_waker(&self, waker: &Waker) -> Waker {
        let probe = Probe::new(waker);
        let waker = probe.waker();
        self.probe.replace(Some(probe));
        waker
    }

    /// Ends a poll of a task with cold state that is suspended. If it was a probe that completes a
    /// circle, the circle is reported.
    #[cold]
    pub(super) fn end_probe(&self, slot: Slot, node: &Node) {
        let Some(probe) = self.probe.take() else { return };
        // fault: circle-with-a-way-out
        let waits_alone = probe.clones() == 1 && node.run_state.get() == RunState::Idle;
        node.with_cold(|cold| cold.suspicion.is_confirmed = waits_alone);
        if waits_alone && self.closes_cycle(slot) && self.is_confirmed_cycle(slot) {
            self.report_wait_cycle(slot);
        }
    }

    /// Returns whether the waits lead from the task at `start` back to it.
    fn closes_cycle(&self, start: Slot) -> bool {
        self.for_each_in_cycle(start, |_| {})
    }

    fn is_confirmed_cycle(&self, start: Slot) -> bool {
        let mut confirmed = true;
        self.for_each_in_cycle(start, |slot| {
            let node = &self.tree[slot];
            let is_confirmed =
                || node.cold.peek(|cold| cold.is_some_and(|cold| cold.suspicion.is_confirmed));
            confirmed &= is_terminating(node) || is_confirmed();
        });
        confirmed
    }

    /// Calls `f` with each task on the way from `start`, as far as the tasks on it are suspended.
    /// Returns whether the way leads back to `start`; otherwise the calls mean nothing.
    fn for_each_in_cycle(&self, start: Slot, mut f: impl FnMut(Slot)) -> bool {
        let mut slot = start;
        for _ in 0..MEMBERS_MAX {
            f(slot);
            match self.dependency(start, slot) {
                Some(Dependency::Descendants) => return true,
                Some(Dependency::Task(next)) if next == start => return true,
                Some(Dependency::Task(next)) if is_suspended(&self.tree[next]) => slot = next,
                _ => return false,
            }
        }
        false
    }

    /// Returns what the task at `slot` waits for, if that is one task alone.
    fn dependency(&self, start: Slot, slot: Slot) -> Option<Dependency> {
        let node = &self.tree[slot];
        if slot != start && is_terminating(node) {
            let is_ancestor = self.ancestors(start).any(|ancestor| ancestor == slot);
            return is_ancestor.then_some(Dependency::Descendants);
        }
        let child = match node.blocked_on.get().target {
            target @ (WaitTarget::Lock(_) | WaitTarget::Queue(_)) => {
                let holder = self.with_wait_targets(|targets| targets.holder(target))?;
                let key = self.node_key(holder.task?)?;
                self.tree.get(key)?;
                return Some(Dependency::Task(key.slot));
            }
            WaitTarget::Task { id, .. } => self.tree.child_with_id(slot, id),
            _ => None,
        };
        child.map(Dependency::Task)
    }

    /// Returns the ancestors on this domain, nearest first.
    fn ancestors(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        let parent = |slot: &Slot| self.tree[*slot].parent.get().local();
        std::iter::successors(parent(&slot), parent)
    }

    fn report_wait_cycle(&self, start: Slot) {
        let mut members = Vec::new();
        self.for_each_in_cycle(start, |slot| {
            let node = &self.tree[slot];
            let target = node.blocked_on.get().target;
            node.with_cold(|cold| cold.suspicion.report(target));
            members.push(self.cycle_member(start, slot));
        });
        self.report_finding(Finding::WaitCycle { members });
    }

    fn cycle_member(&self, start: Slot, slot: Slot) -> CycleMember {
        let node = &self.tree[slot];
        let waits_for_children = slot != start && is_terminating(node);
        let blocked_on = node.blocked_on.get();
        let holder = self.with_wait_targets(|targets| targets.holder(blocked_on.target));
        CycleMember {
            task: TaskInfo::of(&self.tree, slot, self.index),
            blocked_on: (!waits_for_children).then_some(blocked_on),
            held_since: holder.map(|holder| holder.at).filter(|_| !waits_for_children),
        }
    }
}

/// Returns whether a task waits for its children and is not polled before they are complete.
fn is_terminating(node: &Node) -> bool {
    let is_cancelled = node.cancel.is_some() && node.stage.get() == Stage::Running;
    (is_cancelled || node.stage.get() == Stage::Joining) && node.live_children.get() > 0
}

pub(super) fn is_suspended(node: &Node) -> bool {
    !node.is_complete()
        && node.run_state.get() == RunState::Idle
        && node.remote_domain.get().is_none()
}
