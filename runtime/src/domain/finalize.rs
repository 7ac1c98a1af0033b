//! The last part of a task's life: what it owns is finalized, and the books are closed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_ownership::{FinalizeAll, FinalizeReport};

use super::{Domain, Timer};
use crate::task::raw::OutcomeTo;
use crate::task::{BlockedOn, WaitSite, WaitTarget};
use crate::task::{HandleState, LocalFuture, NIL, Node, Outcome, Panic, Stage, TaskError};
use crate::violation::Violation;

/// The finalizers of a task, while one of them has to wait.
pub(crate) struct PendingFinalizers {
    settle: FinalizeAll,
    /// Whether the body ended normally.
    normal: bool,
    /// The end of the run's grace period for them all.
    grace: Timer,
}

impl PendingFinalizers {
    /// Goes on with it. Returns the first panic of a finalizer, if there was one.
    pub(crate) fn poll(
        mut self: Box<Self>,
        domain: &Domain,
        cx: &mut Context<'_>,
    ) -> Result<Option<Panic>, Box<Self>> {
        if let Poll::Ready(settled) = Pin::new(&mut self.settle).poll(cx) {
            return Ok(domain.report_finalized(settled, self.normal));
        }
        if self.grace.poll(domain, cx).is_pending() {
            domain.set_blocked_on(BlockedOn::new(
                WaitSite::unlocated("finalizer"),
                WaitTarget::Unknown,
            ));
            return Err(self);
        }
        let settled = self.settle.finish_without_waiting();
        Ok(domain.report_finalized(settled, self.normal))
    }
}

impl Domain {
    /// Ends the children of the current task, whose body is over, and then settles what it owns.
    /// Returns the first panic of a finalizer, if there was one.
    ///
    /// All that can be done for any task is done here: what is in `TaskFuture` is
    /// compiled anew for each body.
    pub(crate) fn poll_finishing(
        &self,
        normal: bool,
        pending: &mut Option<Box<PendingFinalizers>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Panic>> {
        let settled = match pending.take() {
            Some(waiting) => waiting.poll(self, cx),
            None => {
                // fault: end-before-descendants
                ready!(self.join_children(normal));
                // fault: cancel-skips-finalizers
                self.enter_finalizing();
                self.finalize_resources(normal, cx)
            }
        };
        match settled {
            Ok(panic) => Poll::Ready(panic),
            Err(waiting) => {
                // fault: end-before-finalizers
                *pending = Some(waiting);
                Poll::Pending
            }
        }
    }

    /// Finalizes what the current task still owns, newest first. Returns the first panic of a
    /// finalizer, if there was one, or the settlement if a finalizer has to wait.
    fn finalize_resources(
        &self,
        normal: bool,
        cx: &mut Context<'_>,
    ) -> Result<Option<Panic>, Box<PendingFinalizers>> {
        // Most tasks never owned anything.
        let Some(ledger) = matou_ownership::current_ledger() else { return Ok(None) };
        if normal && self.current_node().inherit.get() {
            ledger.transfer_all();
        }
        let mut settle = ledger.finalize_all();
        match Pin::new(&mut settle).poll(cx) {
            Poll::Ready(settled) => Ok(self.report_finalized(settled, normal)),
            Poll::Pending => {
                // fault: finalizers-unbounded
                let grace = Timer::after(self, self.run.config.grace);
                Box::new(PendingFinalizers { settle, normal, grace }).poll(self, cx)
            }
        }
    }

    /// Reports what a settlement brought to light, and returns the first panic.
    fn report_finalized(&self, settled: FinalizeReport, normal: bool) -> Option<Panic> {
        // fault: leak-not-reported
        if normal && !settled.leaked.is_empty() {
            let task = self.current_info();
            self.raise(Violation::ResourceLeaked { task, resources: settled.leaked });
        }
        // fault: unfinished-finalizer-ignored
        if !settled.unfinished.is_empty() {
            let task = self.current_info();
            self.raise(Violation::FinalizerUnfinished { task, resources: settled.unfinished });
        }
        settled.panicked.into_iter().next().map(|(resource, message)| {
            Panic::from_message(format!("the finalizer of {resource} panicked: {message}"))
        })
    }
}

impl Domain {
    /// Whether the current task is to be ended rather than polled.
    #[inline]
    pub(crate) fn current_cancelled(&self) -> bool {
        self.current_cancelled.get()
    }

    /// Whether the current task has nothing to do at its end: it has no children, owns nothing, and
    /// broke no rule. Most tasks are like that.
    #[inline]
    pub(crate) fn completes_immediately(&self) -> bool {
        let node = self.current_node();
        node.first_child.get() == NIL
            && node.stage.get() == Stage::Running
            && !node.cancel.is_some()
            && !matou_ownership::has_ledger()
    }

    /// The outcome of the current task, which is cancelled.
    pub(crate) fn cancelled_outcome<T, E>(&self) -> Outcome<T, E> {
        let cancelled = self.current_node().cancel.get();
        Err(TaskError::Cancelled(cancelled.expect("a cancelled task knows why")))
    }

    #[inline]
    pub(crate) fn current_node(&self) -> &Node {
        &self.tree[self.current.get()]
    }

    /// Keeps a future that the current task has deferred to its end.
    pub(crate) fn insert_deferred(&self, resource: u64, future: LocalFuture) {
        self.deferred.borrow_mut().insert(resource, future);
    }

    pub(crate) fn take_deferred(&self, resource: u64) -> Option<LocalFuture> {
        self.deferred.borrow_mut().remove(&resource)
    }

    /// Whether a task runs.
    pub(crate) fn has_current(&self) -> bool {
        self.current.get() != NIL
    }

    /// From here on the current task can neither own nor spawn.
    pub(crate) fn enter_finalizing(&self) {
        self.current_node().stage.set(Stage::Finalizing);
    }

    /// Closes the books of the current task: the last thing before the outcome is handed over.
    #[inline]
    pub(crate) fn complete<T, E>(&self, outcome: &mut Option<Outcome<T, E>>) -> OutcomeTo {
        let node = self.current_node();
        node.stage.set(Stage::Complete);
        match node.handle_state.get() {
            HandleState::SignalHandler => {
                if let Some(Err(TaskError::Panicked(panic))) = outcome.take() {
                    // fault: handler-panic-swallowed
                    self.run.fail(crate::run::Failure::SignalHandler(panic));
                }
                OutcomeTo::Nothing
            }
            HandleState::Detached | HandleState::Forgotten => OutcomeTo::Nothing,
            HandleState::Held | HandleState::InGroup { .. } | HandleState::Cancelling => {
                OutcomeTo::Promise
            }
        }
    }
}
