//! The violations and failures of a run.

use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::simulation::Deadlock;
use crate::task::Panic;
use crate::violation::{Report, Violation};

/// The most violations that a report contains. The first ones are the most useful.
const VIOLATIONS_MAX: usize = 64;

/// Why a run cannot go on although no rule was broken.
#[derive(Debug)]
pub(crate) enum RunFailure {
    /// A driver could not wait.
    Driver(io::Error),
    /// A signal handler panicked. It has no parent that receives its outcome.
    SignalHandler(Panic),
    /// No task can make progress.
    Deadlock(Deadlock),
    /// A simulated run used up this number of ticks.
    TickLimit(u64),
}

/// The recorded cause of a run's failure.
#[derive(Debug)]
pub(crate) enum RecordedError {
    Violated(Report),
    Failed(RunFailure),
}

/// The violations of a run, and the failure that ended it.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    violations: Vec<Violation>,
    /// The number of further violations.
    more: usize,
    failure: Option<RunFailure>,
    /// The run was stuck before any rule was broken. Then the failure is reported, not the
    /// violations that its forced end caused.
    deadlock_first: bool,
}

impl ErrorLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, violation: Violation) {
        let mut log = self.lock();
        if log.violations.len() < VIOLATIONS_MAX {
            // fault: violation-not-recorded
            log.violations.push(violation);
        } else {
            log.more += 1;
        }
    }

    /// Records a failure, unless there is one already.
    pub(crate) fn set_failure(&self, failure: RunFailure) {
        let mut log = self.lock();
        if log.failure.is_none() {
            let is_stuck = matches!(failure, RunFailure::Deadlock(_) | RunFailure::TickLimit(_));
            log.deadlock_first = is_stuck && log.violations.is_empty();
            log.failure = Some(failure);
        }
    }

    /// Replaces all recorded errors with a failure that explains them.
    pub(crate) fn replace_with(&self, failure: RunFailure) {
        *self.lock() = Log { failure: Some(failure), ..Log::default() };
    }

    /// Takes the cause of the run's failure: its violations, unless they belong to the forced end
    /// of a run that was stuck.
    pub(crate) fn take(&self) -> Option<RecordedError> {
        let Log { violations, more, failure, deadlock_first } = mem::take(&mut *self.lock());
        if !violations.is_empty() && !deadlock_first {
            return Some(RecordedError::Violated(Report { violations, more }));
        }
        failure.map(RecordedError::Failed)
    }
}
