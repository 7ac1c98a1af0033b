//! The waits of tasks for synchronization primitives, and the holders of these.

use matou_hooks::{Holder, Target, TaskKey, Wait};

use super::Domain;
use super::wait_cycles::is_suspended;
use crate::task::wait_targets::{TargetKind, WaitTargets};
use crate::task::{BlockedOn, NodeKey, WaitSite, WaitTarget};

impl Domain {
    /// Returns where a task is, if it lives on this domain.
    #[inline]
    pub(super) fn node_key(&self, task: TaskKey) -> Option<NodeKey> {
        self.keys.node_key(task)
    }

    /// Records that the current task waits for a primitive.
    pub(crate) fn report_wait(&self, wait: &Wait) {
        let record = |target| self.record_target(target, wait.holder);
        let target = wait.target.and_then(record).unwrap_or(WaitTarget::Unknown);
        self.set_blocked_on(BlockedOn::new(WaitSite::new(wait.operation, wait.at), target));
        if self.has_current()
            && let Some(holder) = wait.holder.and_then(|holder| holder.task)
        {
            self.has_waited_for_holder.set(true);
            // Mostly the holder is ready, and nothing has to be looked for.
            if self.has_to_wait(holder) {
                self.check_wait_cycle();
            }
        }
    }

    /// Records that a task waits for `target`, which `holder` holds. Returns `None` if its kind is
    /// not recorded.
    #[inline]
    fn record_target(&self, target: Target, holder: Option<Holder>) -> Option<WaitTarget> {
        let kind = TargetKind::of(target)?;
        let known = self.with_wait_targets(|targets| targets.record_known(kind, target, holder));
        known.or_else(|| {
            self.purge_wait_targets();
            Some(self.with_wait_targets(|targets| targets.record(kind, target, holder)))
        })
    }

    /// Returns whether a task is the current one or a suspended one of this domain.
    fn has_to_wait(&self, task: TaskKey) -> bool {
        self.node_key(task).is_some_and(|key| {
            let is_current = key.slot == self.scheduler.current();
            self.tree.get(key).is_some_and(|node| is_current || is_suspended(node))
        })
    }

    /// Records a new holder of a primitive.
    pub(crate) fn set_holder(&self, target: Target, holder: Option<Holder>) {
        self.with_wait_targets(|targets| targets.set_holder(target, holder));
    }

    /// Calls `f` with the table of this domain, or of the whole simulated run.
    pub(super) fn with_wait_targets<R>(&self, f: impl FnOnce(&mut WaitTargets) -> R) -> R {
        match &self.simulation {
            Some(simulation) => f(&mut simulation.wait_targets.borrow_mut()),
            None => f(&mut self.wait_targets.borrow_mut()),
        }
    }

    /// Removes entries that no task waits for any more. A simulated run keeps all of them.
    #[cold]
    fn purge_wait_targets(&self) {
        if self.simulation.is_none() && self.wait_targets.borrow().is_crowded(self.tree.capacity())
        {
            let tree = &self.tree;
            let waits = tree.slots().map(|slot| tree[slot].blocked_on.get().target);
            self.wait_targets.borrow_mut().retain(waits);
        }
    }
}
