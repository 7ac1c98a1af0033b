//! Recording violations of the rules.

use matou_ownership::NotOwner;

use super::{ChildRef, Domain};
use crate::task::{CancelKind, Cancelled, NIL, Slot, TaskId};
use crate::violation::{ChildInfo, TaskInfo, Violation};

impl Domain {
    /// Records a violation by the current task. The task is cancelled, so that it is not polled
    /// again, and the run fails (R10).
    pub(crate) fn raise(&self, violation: Violation) {
        let current = self.scheduler.current();
        if current != NIL {
            let cancelled = Cancelled::new(violation.reason());
            // fault: offender-resumed
            drop(self.tree[current].cancel.replace(Some(cancelled)));
        }
        self.run.raise(violation);
    }

    /// R1: records a violation if the task, which has returned, has children that it neither
    /// awaited nor cancelled.
    pub(super) fn check_unjoined_children(&self, parent: Slot) {
        let children = self.tree.children(parent).map(|slot| &self.tree[slot]);
        let unjoined = children.filter(|child| child.handle_state.get().is_leak());
        let children: Vec<ChildInfo> = unjoined.map(ChildInfo::of).collect();
        if !children.is_empty() {
            let task = self.current_info();
            self.raise(Violation::StillHasChildren { task, children });
        }
    }

    /// R2: records that the current task used the promise of a child that is not its own.
    #[cold]
    pub(super) fn raise_not_parent(&self, child: ChildRef) {
        self.raise_not_a_child(ChildInfo::escaped(child.entry.id, child.spawned_at));
    }

    /// R2: records that the current task used a group that belongs to task `owner`. `child` is one
    /// of the children in the group, if there is any.
    #[cold]
    pub(crate) fn raise_not_group_owner(&self, owner: TaskId, child: Option<ChildRef>) {
        match child {
            Some(child) => self.raise_not_parent(child),
            None => {
                let spawned_at = self.current_info().spawned_at;
                self.raise_not_a_child(ChildInfo::escaped(owner, spawned_at));
            }
        }
    }

    fn raise_not_a_child(&self, child: ChildInfo) {
        let task = self.current_info();
        self.raise(Violation::NotAChild { task, child });
    }

    /// R7: records that the current task used a resource that it does not own, if it did. Returns
    /// whether it did.
    pub(super) fn raise_not_owner(&self, error: Option<NotOwner>) -> bool {
        let Some(error) = error else { return false };
        let task = self.current_info();
        // fault: foreign-use-ignored
        self.raise(Violation::NotOwner { task, error });
        true
    }

    /// Returns whether the current task was cancelled because it violated a rule.
    pub(super) fn current_has_violated(&self) -> bool {
        let cancel = &self.current_node().cancel;
        cancel.peek(|cancelled| cancelled.map(Cancelled::kind)) == Some(CancelKind::Violation)
    }

    /// Returns the description of the current task for a report.
    pub(crate) fn current_info(&self) -> TaskInfo {
        TaskInfo::of(&self.tree, self.scheduler.current(), self.index)
    }
}
