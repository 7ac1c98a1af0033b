//! The findings of a run.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_runtime::{Builder, Diagnostic, Finding, MainError};

use super::{Place, run_with};

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

/// Runs `main` with children in each place. Both runs must succeed. Returns the findings of the
/// first, after comparing them with those of the second.
#[track_caller]
pub(crate) fn forgotten<F>(main: impl Fn(Place) -> F + Clone + Send + 'static) -> Vec<(u32, usize)>
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let [local, remote] = Place::BOTH.map(|place| {
        let (findings, main) = (Findings::new(), main.clone());
        let builder = findings.of(Builder::new().domains(place.domains()));
        let result = run_with(builder, move || main(place));
        result.unwrap_or_else(|error| panic!("with {place:?} children the run fails:\n{error}"));
        findings.forgotten()
    });
    assert_eq!(local, remote, "the same with children on other domains");
    local
}
