//! How the diagnostics of a run reach the user.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use super::{Diagnostic, Finding};
use crate::locks::{Guard, lock};
use crate::panics;

/// The function that receives the diagnostics of a run.
pub(crate) type Hook = Arc<dyn Fn(&Diagnostic) + Send + Sync>;

/// A kind of finding at one line of the program.
type Line = (&'static str, &'static Location<'static>);

/// Receives the diagnostics of all domains of a run.
///
/// Without a hook they are printed to standard error: each violation, and each finding once per
/// line of the program. Repetitions are counted, and the counts are printed at the end of the run.
pub(crate) struct Reporter {
    hook: Option<Hook>,
    /// Whether violations are printed. A run that returns them as its error does not print them.
    prints_violations: bool,
    /// How often each finding occurred; only without a hook.
    counts: Mutex<HashMap<Line, u64>>,
}

impl Reporter {
    pub(crate) fn new(hook: Option<Hook>, prints_violations: bool) -> Reporter {
        Reporter { hook, prints_violations, counts: Mutex::default() }
    }

    fn counts(&self) -> Guard<'_, HashMap<Line, u64>> {
        lock(&self.counts)
    }

    /// Counts a finding. Returns whether it must be reported: a hook receives each one, the
    /// printer only the first one for each line.
    pub(crate) fn count(&self, finding: &Finding) -> bool {
        if self.hook.is_some() {
            return true;
        }
        let mut counts = self.counts();
        let count = counts.entry((finding.name(), finding.at())).or_insert(0);
        let is_first = *count == 0;
        *count += finding.count();
        // fault: finding-repeated
        is_first
    }

    /// Hands a diagnostic to the user. The caller holds no lock and no borrow, because the hook is
    /// user code. A panic of the hook goes no further than the panic hook.
    pub(crate) fn report(&self, diagnostic: &Diagnostic) {
        match (&self.hook, diagnostic) {
            // fault: report-hook-panics
            (Some(hook), _) => panics::ignore(|| hook(diagnostic)),
            (None, Diagnostic::Violation(_)) if !self.prints_violations => {}
            (None, _) => print(diagnostic),
        }
    }

    /// Prints how often the findings were repeated, at the end of the run.
    pub(crate) fn finish(&self) {
        let mut repeated: Vec<(Line, u64)> = mem::take(&mut *self.counts()).into_iter().collect();
        repeated.retain(|(_, count)| *count > 1);
        repeated.sort_unstable_by_key(|((name, at), _)| (*name, at.file(), at.line(), at.column()));
        for ((name, at), count) in repeated {
            print(format_args!("warning[{name}]: {count} times in all\n  --> {at}"));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let hook = self.hook.take();
        panics::ignore(|| drop(hook));
    }
}

/// Prints to standard error. Errors are ignored: the stream may be closed.
fn print(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("has_hook", &self.hook.is_some()).finish_non_exhaustive()
    }
}
