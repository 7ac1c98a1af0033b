//! The findings of a run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_runtime::{Builder, Diagnostic, Finding};

/// The findings that a run reports, in order.
#[derive(Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Findings {
    pub(crate) fn new() -> Findings {
        Findings::default()
    }

    /// Records the findings of a run with these settings, but no slow polls: on a busy machine any
    /// poll may be slow.
    pub(crate) fn of(&self, builder: Builder) -> Builder {
        let findings = self.clone();
        builder.slow_poll(Duration::MAX).on_report(move |diagnostic| findings.record(diagnostic))
    }

    pub(crate) fn record(&self, diagnostic: &Diagnostic) {
        if let Diagnostic::Finding(finding) = diagnostic {
            self.0.lock().unwrap().push(finding.clone());
        }
    }

    pub(crate) fn take(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The lines that spawned the forgotten children, and how many each line has. Fails if there is
    /// another finding.
    #[track_caller]
    pub(crate) fn forgotten(&self) -> Vec<(u32, usize)> {
        let found = self.take();
        let line = |finding: &Finding| match finding {
            Finding::Forgotten { child, count, .. } => (child.spawned_at.line(), *count),
            other => panic!("another finding:\n{other}"),
        };
        found.iter().map(line).collect()
    }
}
