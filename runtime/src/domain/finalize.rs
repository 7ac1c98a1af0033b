//! The last stage of a task: its resources are finalized, and its outcome is determined.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_ownership::{FinalizeAll, FinalizeReport, Leak, Ledger};

use super::RunFailure;
use super::{Domain, Node, Timer};
use crate::diagnostic::{Finding, Violation};
use crate::outcome::{Outcome, Panic, TaskError};
use crate::panics;
use crate::task::raw::OutcomeTo;
use crate::task::{BlockedOn, HandleState, NIL, Stage, WaitSite, WaitTarget};

/// A future that a task has deferred to its end. It stays on its domain.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The deferred futures of a domain's tasks, by the numbers of their resources.
#[derive(Default)]
pub(crate) struct DeferredFutures {
    futures: RefCell<HashMap<u64, LocalFuture>>,
}

impl DeferredFutures {
    pub(crate) fn insert(&self, resource: u64, future: LocalFuture) {
        self.futures.borrow_mut().insert(resource, future);
    }

    pub(crate) fn remove(&self, resource: u64) -> Option<LocalFuture> {
        self.futures.borrow_mut().remove(&resource)
    }

    /// Drops the futures that are left at the end of the run.
    pub(super) fn clear(&self) {
        let futures = self.futures.take();
        panics::drop_each(futures);
    }
}

/// The finalizers of a task, one of which is pending.
pub(crate) struct PendingFinalizers {
    finalizers: FinalizeAll,
    /// The time limit for all of them together.
    grace: Timer,
}

impl PendingFinalizers {
    pub(super) fn new(domain: &Domain, finalizers: FinalizeAll) -> Box<PendingFinalizers> {
        // fault: finalizers-unbounded
        let grace = Timer::after(domain, domain.run.config.grace);
        Box::new(PendingFinalizers { finalizers, grace })
    }

    /// Continues them. Returns the report, or gives `self` back if a finalizer is still pending.
    pub(super) fn poll(
        mut self: Box<Self>,
        domain: &Domain,
        cx: &mut Context<'_>,
    ) -> Result<FinalizeReport, Box<Self>> {
        let polled = Pin::new(&mut self.finalizers).poll(cx);
        if let Poll::Ready(report) = polled {
            return Ok(report);
        }
        if self.grace.poll(domain, cx).is_pending() {
            let site = WaitSite::unlocated("finalizer");
            domain.set_blocked_on(BlockedOn::new(site, WaitTarget::Unknown));
            return Err(self);
        }
        Ok(self.finalizers.finish_without_waiting())
    }
}

impl Domain {
    /// Joins the children of the current task, whose body has returned or is dropped, and then
    /// finalizes the resources of the task. Returns the panics of finalizers as one, if there were
    /// any.
    ///
    /// All code that does not depend on the type of the body is in this function, because
    /// `TaskFuture` is compiled once for each body.
    pub(crate) fn poll_finishing(
        &self,
        normal: bool,
        pending: &mut Option<Box<PendingFinalizers>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Panic>> {
        let finalized = match pending.take() {
            Some(pending) => pending.poll(self, cx),
            None => {
                // fault: end-before-descendants
                ready!(self.join_children(normal));
                // fault: cancel-skips-finalizers
                self.enter_finalizing();
                let Some(ledger) = matou_ownership::current_ledger() else {
                    // Most tasks never owned anything, so there is nothing to report either.
                    return Poll::Ready(None);
                };
                self.finalize_resources(&ledger, cx)
            }
        };
        match finalized {
            Ok(report) => {
                let panic = self.report_finalized(report, normal);
                // The drop of the body, or a finalizer, may have used what another task owns.
                // fault: late-foreign-use-ignored
                self.raise_recorded_not_owner();
                Poll::Ready(panic)
            }
            Err(still_pending) => {
                // fault: end-before-finalizers
                *pending = Some(still_pending);
                Poll::Pending
            }
        }
    }

    /// Leaves the resources that outlive the current task to its parent, and finalizes the others,
    /// newest first. Returns the report, or the finalizers if one of them is pending.
    fn finalize_resources(
        &self,
        ledger: &Arc<Ledger>,
        cx: &mut Context<'_>,
    ) -> Result<FinalizeReport, Box<PendingFinalizers>> {
        self.leave_resources(ledger);
        let mut finalizers = ledger.finalize_all();
        match Pin::new(&mut finalizers).poll(cx) {
            Poll::Ready(report) => Ok(report),
            Poll::Pending => PendingFinalizers::new(self, finalizers).poll(self, cx),
        }
    }

    /// Records the violations and findings of a finalization. Returns the panics as one.
    pub(super) fn report_finalized(&self, report: FinalizeReport, normal: bool) -> Option<Panic> {
        self.report_leaks(report.leaked, normal);
        // fault: unfinished-finalizer-ignored
        if !report.unfinished.is_empty() {
            let task = self.current_info();
            self.raise(Violation::FinalizerUnfinished { task, resources: report.unfinished });
        }
        let mut panics = report.panicked.into_iter().map(|(resource, message)| {
            Panic::from_message(format!("the finalizer of {resource} panicked: {message}"))
        });
        let mut first = panics.next()?;
        first.add_causes(panics.flat_map(Panic::into_causes));
        Some(first)
    }

    /// R7: resources that the current task was given, and in a strict task all resources, must not
    /// be alive at a normal end. The root leaves nothing to a parent: its living resources are a
    /// finding.
    fn report_leaks(&self, leaked: Vec<Leak>, normal: bool) {
        let is_strict = self.leaks_at_task_end();
        let (leaked, alive): (Vec<_>, Vec<_>) =
            leaked.into_iter().partition(|leak| leak.given || is_strict);
        // fault: leak-not-reported
        if normal && !leaked.is_empty() {
            let task = self.current_info();
            let resources = leaked.into_iter().map(|leak| leak.resource).collect();
            self.raise(Violation::ResourceLeaked { task, resources });
        }
        for leak in alive {
            // fault: leak-at-run-end-unseen
            self.report_finding(Finding::ResourceAlive { leak });
        }
    }

    /// From here on the current task can neither own nor spawn.
    pub(crate) fn enter_finalizing(&self) {
        self.current_node().stage.set(Stage::Finalizing);
    }

    /// Returns whether the current task has neither children nor resources, and was not cancelled,
    /// so that it completes at once. Most tasks are like that.
    #[inline]
    pub(crate) fn completes_immediately(&self) -> bool {
        let node = self.current_node();
        node.first_child.get() == NIL
            && node.stage.get() == Stage::Running
            && !node.cancel.is_some()
            && self.forgotten.is_empty()
            && !matou_ownership::has_ledger()
    }

    /// Returns the outcome of the current task, which was cancelled.
    pub(crate) fn cancelled_outcome<T, E>(&self) -> Outcome<T, E> {
        let cancelled = self.current_node().cancel.get();
        Err(TaskError::Cancelled(cancelled.expect("a cancelled task knows why")))
    }

    /// Returns the outcome of the current task, a cancelled blocking job that was left behind.
    pub(crate) fn unfinished_outcome<T, E>(&self) -> Outcome<T, E> {
        let cancelled = self.current_node().cancel.get();
        Err(TaskError::Unfinished(cancelled.expect("a cancelled task knows why")))
    }

    /// Returns whether a `Cancel` future waits for the outcome of the current task.
    pub(crate) fn is_awaited_by_cancel(&self) -> bool {
        self.current_node().handle_state.get() == HandleState::Cancelling
    }

    /// Determines who receives the outcome of the current task, which is done. The tree marks the
    /// task as complete later, in [`finish_task`](Domain::finish_task): destructors run in between.
    #[inline]
    pub(crate) fn complete<T, E>(&self, outcome: &mut Option<Outcome<T, E>>) -> OutcomeTo {
        let node: &Node = self.current_node();
        match node.handle_state.get() {
            HandleState::SignalHandler => {
                // No parent receives the outcome of a signal handler, so its panic or violation
                // fails the run.
                match outcome.take() {
                    // fault: handler-panic-swallowed
                    Some(Err(TaskError::Panicked(panic))) => self.signal_handler_panicked(panic),
                    // fault: handler-violation-swallowed
                    Some(Err(TaskError::Violation(report))) => self.fail_by_signal_handler(report),
                    _ => {}
                }
                OutcomeTo::Nothing
            }
            HandleState::Detached
            | HandleState::Daemon
            | HandleState::GivenUp
            | HandleState::Forgotten => OutcomeTo::Nothing,
            HandleState::Held
            | HandleState::Polled
            | HandleState::InGroup { .. }
            | HandleState::Cancelling => OutcomeTo::Promise,
        }
    }

    #[cold]
    fn signal_handler_panicked(&self, panic: Panic) {
        // If the run has failed already, its error does not say so.
        match self.run.fail(RunFailure::SignalHandler(panic)) {
            Some(RunFailure::SignalHandler(panic)) => {
                let (task, causes) = (self.current_info(), panic.into_causes().collect());
                self.report_finding(Finding::FailureUnseen { task, causes });
            }
            other => panics::ignore(|| drop(other)),
        }
    }
}
