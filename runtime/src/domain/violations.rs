//! Recording violations of the rules.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::Location;
use std::task::{Poll, ready};

use matou_ownership::NotOwner;

use super::{ChildRef, Domain, Message};
use crate::diagnostic::{ChildInfo, CompletedChild, Diagnostic, Report, TaskInfo, Violation};
use crate::task::{
    BlockedOn, Cancelled, NIL, NodeKey, Slot, TaskId, TaskIdentity, WaitSite, WaitTarget,
};

/// The violations of the tasks of a domain that are not complete, by their nodes.
#[derive(Default)]
pub(super) struct Offenders {
    reports: RefCell<HashMap<Slot, Report>>,
}

impl Offenders {
    fn push(&self, slot: Slot, violation: Violation) {
        self.reports.borrow_mut().entry(slot).or_default().push(violation);
    }

    #[inline]
    fn contains(&self, slot: Slot) -> bool {
        let reports = self.reports.borrow();
        !reports.is_empty() && reports.contains_key(&slot)
    }

    fn take(&self, slot: Slot) -> Option<Report> {
        self.reports.borrow_mut().remove(&slot)
    }
}

impl Domain {
    /// Records a violation by the current task at once, so that nothing can hide it. The task is
    /// cancelled, so that it is not polled again, and its parent receives the violation (R10).
    ///
    /// If no task is running, no parent receives it, and the run fails.
    pub(crate) fn raise(&self, violation: Violation) {
        let current = self.scheduler.current();
        self.report(Diagnostic::Violation(violation.clone()));
        // fault: violation-fails-every-run
        if current == NIL || self.run.is_failed_by_violations() {
            let mut report = Report::default();
            report.push(violation.clone());
            self.run.fail_by(report);
        }
        // A complete task has no outcome any more that could say so: only its last destructors run.
        if current != NIL && !self.tree[current].is_complete() {
            let cancelled = Cancelled::new(violation.reason());
            self.offenders.push(current, violation);
            // fault: offender-resumed
            drop(self.tree[current].cancel.replace(Some(cancelled)));
        }
    }

    /// Takes the violations of the current task, if it has committed any.
    pub(crate) fn take_violations(&self) -> Option<Report> {
        self.offenders.take(self.scheduler.current())
    }

    /// Makes the violations of a signal handler the error of the run, because no task receives the
    /// handler's outcome.
    #[cold]
    pub(super) fn fail_by_signal_handler(&self, report: Report) {
        if !self.run.is_failed_by_violations() {
            self.run.fail_by(report);
        }
    }

    /// R1: records a violation if the current task, which has returned, has children that it
    /// neither awaited nor cancelled. Waits until the messages that were sent before are handled:
    /// one of them may report that a handle was dropped on another thread.
    pub(super) fn check_unjoined_children(&self, parent: Slot) -> Poll<()> {
        let children = self.tree.children(parent).map(|slot| &self.tree[slot]);
        let mut unjoined = children.filter(|child| child.handle_state.get().is_leak()).peekable();
        if unjoined.peek().is_none() {
            return Poll::Ready(());
        }
        // fault: unread-drop-is-a-leak
        ready!(self.poll_messages_handled(parent));
        let children: Vec<ChildInfo> = unjoined.map(ChildInfo::of).collect();
        let task = self.current_info();
        self.raise(Violation::StillHasChildren { task, children });
        Poll::Ready(())
    }

    /// Waits until all messages are handled that were sent to this domain before the first call for
    /// this task.
    fn poll_messages_handled(&self, task: Slot) -> Poll<()> {
        let node = &self.tree[task];
        let requested = node.cold.peek(|cold| cold.and_then(|cold| cold.messages_handled));
        match requested {
            None if !self.remote().has_messages() => return Poll::Ready(()),
            None => {
                // Messages are handled in the order in which they were sent.
                node.with_cold(|cold| cold.messages_handled = Some(false));
                let task = NodeKey { slot: task, id: node.id.get() };
                self.remote().send(Message::MessagesHandled { task });
            }
            Some(true) => return Poll::Ready(()),
            Some(false) => {}
        }
        let site = WaitSite::unlocated("messages from other threads");
        self.set_blocked_on(BlockedOn::new(site, WaitTarget::Unknown));
        Poll::Pending
    }

    /// Handles the message that follows those that [`poll_messages_handled`] waits for.
    ///
    /// [`poll_messages_handled`]: Domain::poll_messages_handled
    pub(super) fn messages_handled(&self, task: NodeKey) {
        if let Some(node) = self.tree.get(task) {
            node.with_cold(|cold| cold.messages_handled = Some(true));
            self.wake_key(task);
        }
    }

    /// R2: records that the current task used the promise of a child that is not its own.
    #[cold]
    pub(super) fn raise_not_parent(
        &self,
        child: ChildRef,
        used_at: Option<&'static Location<'static>>,
    ) {
        self.raise_not_a_child(ChildInfo::escaped(child.entry.id, child.spawned_at), used_at);
    }

    /// R2: records that the current task used a group that belongs to task `owner`. `child` is one
    /// of the children in the group, if there is any.
    #[cold]
    pub(crate) fn raise_not_group_owner(
        &self,
        owner: TaskId,
        child: Option<ChildRef>,
        used_at: &'static Location<'static>,
    ) {
        match child {
            Some(child) => self.raise_not_parent(child, Some(used_at)),
            None => {
                let spawned_at = self.current_info().spawned_at;
                self.raise_not_a_child(ChildInfo::escaped(owner, spawned_at), Some(used_at));
            }
        }
    }

    fn raise_not_a_child(&self, child: ChildInfo, used_at: Option<&'static Location<'static>>) {
        let task = self.current_info();
        self.raise(Violation::NotAChild { task, child, used_at });
    }

    /// R7: records that the current task used a resource that it does not own, if its ledger says
    /// so.
    #[inline]
    pub(crate) fn raise_recorded_not_owner(&self) {
        self.raise_not_owner(matou_ownership::take_not_owner());
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

    /// Returns whether the current task has violated a rule.
    pub(crate) fn current_has_violated(&self) -> bool {
        self.current_node().cancel.is_some() && self.offenders.contains(self.scheduler.current())
    }

    /// Returns what a report of a complete child needs of its node, unless that was freed already.
    pub(crate) fn completed_child(&self, entry: NodeKey) -> Option<CompletedChild> {
        self.tree.get(entry).map(|node| CompletedChild::of(node, self.index))
    }

    /// Returns the description of a child whose parent is on this domain.
    pub(crate) fn child_info(&self, child: ChildRef, completed: CompletedChild) -> TaskInfo {
        completed.info(&self.tree, self.index, (child.entry.id, child.spawned_at))
    }

    /// Returns the identity of the current task, for its outcome; `None` outside a task.
    #[cold]
    pub(crate) fn current_identity() -> Option<TaskIdentity> {
        // fault: error-without-task
        Domain::try_with(|domain| {
            let node = domain.has_current().then(|| domain.current_node())?;
            Some(TaskIdentity::new(node.id.get(), node.name(), node.spawned_at.get()))
        })
        .flatten()
    }

    /// Returns the description of the current task for a report.
    pub(crate) fn current_info(&self) -> TaskInfo {
        TaskInfo::of(&self.tree, self.scheduler.current(), self.index)
    }
}
