//! Helpers for models.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use matou_ownership::{FinalizeStatus, Ledger, Resource, Ticket, enter, own};

/// A resource that counts the calls of its finalizer.
pub(crate) struct Probe {
    ticket: Ticket,
    finalized: AtomicUsize,
}

impl Probe {
    pub(crate) fn new() -> Arc<Probe> {
        Arc::new(Probe { ticket: Ticket::new("probe"), finalized: AtomicUsize::new(0) })
    }

    pub(crate) fn owned_by(ledger: &Arc<Ledger>) -> Arc<Probe> {
        let probe = Probe::new();
        within(ledger, || own(&probe.resource()));
        probe
    }

    pub(crate) fn resource(self: &Arc<Self>) -> Arc<dyn Resource> {
        Arc::clone(self) as Arc<dyn Resource>
    }

    pub(crate) fn finalized(&self) -> usize {
        self.finalized.load(Ordering::Relaxed)
    }
}

impl Resource for Probe {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        self.finalized.fetch_add(1, Ordering::Relaxed);
        FinalizeStatus::Done
    }
}

/// Runs `body` as a part of the task of `ledger`.
pub(crate) fn within<R>(ledger: &Arc<Ledger>, body: impl FnOnce() -> R) -> R {
    let entered = enter(Some(Arc::clone(ledger)));
    let result = body();
    entered.leave();
    result
}

/// Asserts that `model` holds under all schedules.
pub(crate) fn holds(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}
