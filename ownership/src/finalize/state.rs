use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::report::{FinalizeReport, Leak};
use crate::context::switch;
use crate::held_locks::assert_none_held;
use crate::info::ResourceInfo;
use crate::panic_message::panic_message;
use crate::registry::{FinalizeStatus, Ledger, Resource};

pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The progress of finalizing a ledger, without the running asynchronous finalizer. It is `Send`,
/// so it can continue on another thread.
pub(crate) struct FinalizeState {
    ledger: Arc<Ledger>,
    report: FinalizeReport,
}

impl FinalizeState {
    pub(crate) fn new(ledger: Arc<Ledger>) -> FinalizeState {
        ledger.begin_finalizing();
        FinalizeState { ledger, report: FinalizeReport::default() }
    }

    /// Runs synchronous finalizers until no resource is left, and returns `true`, or until the next
    /// finalizer is asynchronous, and returns `false`.
    pub(crate) fn finish_unless_async(&mut self) -> bool {
        loop {
            if self.ledger.newest().is_some_and(|newest| newest.is_async()) {
                return false;
            }
            let Some(resource) = self.take_next() else {
                return true;
            };
            self.finalize_without_waiting(resource);
        }
    }

    /// Runs all remaining finalizers. Each asynchronous one is polled only once.
    pub(crate) fn finish_without_waiting(&mut self) -> FinalizeReport {
        while let Some(resource) = self.take_next() {
            self.finalize_without_waiting(resource);
        }
        self.take_report()
    }

    /// Returns the report once the ledger is closed.
    pub(crate) fn take_report(&mut self) -> FinalizeReport {
        self.report.panicked.append(&mut self.ledger.take_panics());
        std::mem::take(&mut self.report)
    }

    /// Returns the resources that are still in the ledger.
    pub(super) fn remaining(&self) -> Vec<ResourceInfo> {
        self.ledger.resources()
    }

    /// Removes the newest resource from the ledger. The caller must finalize it. Closes the ledger
    /// and returns `None` if no resource is left.
    pub(super) fn take_next(&mut self) -> Option<Arc<dyn Resource>> {
        loop {
            let newest = self.ledger.newest_or_close()?;
            // If another thread has moved or finalized it since, try the resource that is the
            // newest now.
            if let Some(detached) = newest.ticket().begin_finalize_in(&self.ledger) {
                let info = newest.ticket().info();
                if !detached.deferred && !detached.late {
                    self.report.leaked.push(Leak::new(info.clone(), &detached, &self.ledger));
                }
                self.report.finalized.push(info);
                return Some(newest);
            }
        }
    }

    /// Calls the finalizer of `resource`. Returns its future if it is asynchronous.
    pub(super) fn finalize(&mut self, resource: Arc<dyn Resource>) -> Option<LocalFuture> {
        let info = resource.ticket().info();
        // The closure drops the resource, since its destructor is user code as well if this is the
        // last reference.
        // fault: finalized-twice
        let finalized = self.run(&info, move || resource.finalize());
        match finalized {
            Some(FinalizeStatus::Pending(future)) => Some(future),
            Some(FinalizeStatus::Done) | None => None,
        }
    }

    fn finalize_without_waiting(&mut self, resource: Arc<dyn Resource>) {
        let info = resource.ticket().info();
        let Some(mut future) = self.finalize(resource) else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let polled = self.run(&info, || future.as_mut().poll(&mut cx));
        if polled.is_some_and(|polled| polled.is_pending()) {
            self.drop_unfinished(info, future);
        } else {
            self.run(&info, move || drop(future));
        }
    }

    /// Drops an asynchronous finalizer that has not completed, and reports it.
    pub(super) fn drop_unfinished(&mut self, info: ResourceInfo, future: LocalFuture) {
        self.run(&info, move || drop(future));
        self.report.unfinished.push(info);
    }

    /// Runs one step of a finalizer with the ledger entered. Catches and records a panic.
    pub(super) fn run<R>(&mut self, info: &ResourceInfo, step: impl FnOnce() -> R) -> Option<R> {
        assert_none_held();
        let mut outer = switch(Some(Arc::clone(&self.ledger)), true);
        let result = catch_unwind(AssertUnwindSafe(step));
        outer.restore();
        match result {
            Ok(value) => Some(value),
            Err(payload) => {
                self.report.panicked.push((info.clone(), panic_message(payload)));
                None
            }
        }
    }
}
