//! Resources that outlive their owner: how they reach the parent, and how their finalizers run.
//!
//! The end of a task leaves each resource whose handle is still alive to the task's parent (R7). A
//! handle may then be dropped at any time and on any thread. If the finalizer is asynchronous, the
//! ledger sends a message to the owner's domain, and a child of the owner runs it.

use std::convert::Infallible;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_ownership::{FinalizeReport, FinalizerService, Ledger, Resource};

use super::completion::owner_info_of;
use super::{Domain, Leaks, Message, OutcomeHandle, PendingFinalizers, RemoteHandle};
use crate::diagnostic::{Finding, TaskInfo};
use crate::outcome::Outcome;
use crate::task::raw::{OutcomeTo, TaskBody, allocate};
use crate::task::{
    Cause, HandleState, LeakRule, NodeKey, Parent, Slot, SpawnParams, Stage, TaskMeta,
};

/// Sends a message when a finalizer of the task `owner` is due.
struct OwnerFinalizers {
    remote: Arc<RemoteHandle>,
    owner: NodeKey,
}

impl FinalizerService for OwnerFinalizers {
    fn finalizers_due(&self) {
        self.remote.send(Message::FinalizersDue { owner: self.owner });
    }
}

/// Passing resources on.
impl Domain {
    /// Leaves the resources that outlive the current task to its parent. The root has none:
    /// its transferred resources are finalized with the rest at its end.
    pub(super) fn leave_resources(&self, ledger: &Arc<Ledger>) {
        let is_root = matches!(self.current_node().parent.get(), Parent::None);
        if is_root {
            // fault: root-transfer-lost
            ledger.take_back_transferred();
        } else if !self.leaks_at_task_end() {
            // fault: outlived-owner-finalizes
            ledger.leave_to_parent();
        }
    }

    /// Returns whether the current task must not leave living resources behind.
    pub(super) fn leaks_at_task_end(&self) -> bool {
        match self.current_node().leak_rule.get() {
            LeakRule::OfRun => self.run.config.leaks == Leaks::AtTaskEnd,
            // fault: strict-task-leaves-resources
            LeakRule::Strict => true,
            LeakRule::LeftToParent => false,
        }
    }

    /// Makes a parent the owner of the resources that its child has transferred or left.
    pub(super) fn deliver_transfers(&self, parent: Slot, transferred: Vec<Arc<dyn Resource>>) {
        if transferred.is_empty() {
            return;
        }
        let node = &self.tree[parent];
        let make = || {
            let ledger = Ledger::new();
            ledger.set_owner(owner_info_of(node));
            ledger
        };
        let ledger = node.ledger.update(|ledger| Arc::clone(ledger.get_or_insert_with(make)));
        let accumulated = ledger.receive(transferred);
        self.serve_finalizers(parent, &ledger);
        for resource in accumulated {
            self.report_finding(Finding::ResourcesAccumulate {
                resource,
                owner: TaskInfo::of(&self.tree, parent, self.index),
            });
        }
    }

    /// Lets the ledger of the task at `slot` request that finalizers run before the task ends, if
    /// it has resources for which that may be necessary.
    pub(super) fn serve_finalizers(&self, slot: Slot, ledger: &Ledger) {
        if ledger.needs_finalizer_service() {
            let owner = NodeKey { slot, id: self.tree[slot].id.get() };
            let remote = Arc::clone(self.remote());
            ledger.set_finalizer_service(Arc::new(OwnerFinalizers { remote, owner }));
        }
    }
}

/// Running finalizers of a task while the task is running.
impl Domain {
    /// Spawns a child of `owner` for each of its finalizers that is due. If the task is ending, its
    /// end runs them.
    pub(super) fn start_due_finalizers(&self, owner: NodeKey) {
        let Some(node) = self.tree.get(owner) else { return };
        if node.stage.get() != Stage::Running {
            return;
        }
        let Some(ledger) = node.ledger.get() else { return };
        while let Some(due) = ledger.take_due() {
            let resource = due.resources().pop().expect("the ledger contains the due resource");
            self.spawn_finalizer(owner.slot, resource.made_at, due);
        }
    }

    /// Spawns a child of the task at `owner` that finalizes the resource in `due`. It is not
    /// awaited, and a cancellation does not interrupt it: only the grace period bounds it.
    fn spawn_finalizer(&self, owner: Slot, made_at: &'static Location<'static>, due: Arc<Ledger>) {
        let meta = TaskMeta::named(made_at, Arc::from("finalizer"));
        let id = self.next_task_id();
        let body = FinalizerTask { owner, pending: None, is_finalized: false };
        let (owner_ref, outcome): (_, OutcomeHandle<(), Infallible>) =
            allocate(Arc::clone(self.remote()), || body);
        drop(outcome);
        let (_, node) = self.insert_task(id, made_at, Parent::Local(owner), owner_ref);
        node.handle_state.set(HandleState::Detached);
        let params = SpawnParams { name: meta.name, ledger: Some(due), ..SpawnParams::default() };
        node.apply(params);
    }

    /// Reports the finalizer of a task that was running: a panic becomes the outcome of `owner`, as
    /// that of a finalizer at its end.
    fn report_due_finalizer(&self, owner: Slot, mut report: FinalizeReport) {
        let panicked = std::mem::take(&mut report.panicked);
        let ledger = self.tree[owner].ledger.get();
        if let Some(ledger) = ledger.filter(|_| !panicked.is_empty()) {
            // fault: due-finalizer-panic-lost
            ledger.add_panics(panicked);
        }
        self.report_finalized(report, true);
        self.raise_recorded_not_owner();
    }
}

/// The body of a task that finalizes one resource of its parent, which is in its ledger.
struct FinalizerTask {
    owner: Slot,
    pending: Option<Box<PendingFinalizers>>,
    is_finalized: bool,
}

impl FinalizerTask {
    fn poll_finalizer(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Poll<()> {
        let pending = self.pending.take().or_else(|| {
            domain.enter_finalizing();
            let ledger = matou_ownership::current_ledger()?;
            Some(PendingFinalizers::new(domain, ledger.finalize_all()))
        });
        match pending.map(|pending| pending.poll(domain, cx)) {
            Some(Err(still_pending)) => {
                self.pending = Some(still_pending);
                return Poll::Pending;
            }
            Some(Ok(report)) => domain.report_due_finalizer(self.owner, report),
            None => {}
        }
        self.is_finalized = true;
        Poll::Ready(())
    }
}

impl TaskBody<Domain> for FinalizerTask {
    type Output = Outcome<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo> {
        if !self.is_finalized {
            ready!(self.poll_finalizer(domain, cx));
        }
        // Children of a finalizer do not start, but they have to be joined.
        ready!(domain.join_children(false));
        Poll::Ready(domain.complete::<(), Infallible>(&mut None))
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Output> {
        None
    }

    fn discard(self: Pin<&mut Self>) -> Vec<Cause> {
        Vec::new()
    }
}
