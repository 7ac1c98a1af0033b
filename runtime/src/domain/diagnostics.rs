//! The diagnostics of a domain that the user has not received yet.

use std::cell::{Cell, RefCell};
use std::mem;

use super::Domain;
use crate::diagnostic::{Diagnostic, Finding};

/// The most rounds of diagnostics that are handed to the hook at once, so that a hook that causes
/// a diagnostic at each call does not keep its domain from working.
const ROUNDS_MAX: usize = 16;

/// The diagnostics that wait for the end of the current poll.
#[derive(Default)]
pub(super) struct PendingDiagnostics {
    /// Whether there are any, for a check after each poll.
    pending: Cell<bool>,
    queue: RefCell<Vec<Diagnostic>>,
}

impl PendingDiagnostics {
    fn push(&self, diagnostic: Diagnostic) {
        self.queue.borrow_mut().push(diagnostic);
        self.pending.set(true);
    }

    fn take(&self) -> Vec<Diagnostic> {
        self.pending.set(false);
        mem::take(&mut *self.queue.borrow_mut())
    }
}

impl Domain {
    /// Reports a finding. The user receives it after the current poll, when the domain holds
    /// neither a lock nor a borrow.
    pub(crate) fn report_finding(&self, finding: Finding) {
        if self.run.reporter().count(&finding) {
            self.report(Diagnostic::Finding(finding));
        }
    }

    /// Hands a diagnostic to the user after the current poll.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Hands the diagnostics that have been reported to the user. Called between polls, and after
    /// other steps that run code which may report something.
    #[inline]
    pub(crate) fn flush_diagnostics(&self) {
        if self.diagnostics.pending.get() {
            self.hand_over_diagnostics();
        }
    }

    #[cold]
    fn hand_over_diagnostics(&self) {
        for _ in 0..ROUNDS_MAX {
            if !self.diagnostics.pending.get() {
                return;
            }
            let reporter = self.run.reporter();
            self.diagnostics.take().iter().for_each(|diagnostic| reporter.report(diagnostic));
        }
    }
}
