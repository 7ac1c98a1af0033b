//! The violations and failures of a run.

use std::io;
use std::mem;
use std::sync::Mutex;

use crate::diagnostic::Report;
use crate::locks::{Guard, lock};
use crate::outcome::Panic;
use crate::panics;
use crate::simulation::Deadlock;
use crate::task::Cause;

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

impl RunFailure {
    /// Returns the failure as text, for a run whose error is another one.
    pub(crate) fn into_causes(self) -> Vec<Cause> {
        match self {
            RunFailure::Driver(error) => {
                let cause = Cause::failed(&error);
                // The error may contain a user's type.
                panics::ignore(|| drop(error));
                vec![cause]
            }
            RunFailure::SignalHandler(panic) => panic.into_causes().collect(),
            RunFailure::Deadlock(deadlock) => vec![Cause::failed(&deadlock.to_string())],
            RunFailure::TickLimit(ticks) => vec![Cause::failed(&format!("{ticks} ticks"))],
        }
    }
}

/// The recorded cause of a run's failure.
#[derive(Debug)]
pub(crate) enum RecordedError {
    Violated(Report),
    Failed(RunFailure),
}

/// The violations that fail a run, and the failure that ended it.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    report: Report,
    failure: Option<RunFailure>,
    /// The run was stuck before any rule was broken. Then the failure is reported, not the
    /// violations that its forced end caused.
    deadlock_first: bool,
}

impl ErrorLog {
    fn lock(&self) -> Guard<'_, Log> {
        lock(&self.log)
    }

    pub(crate) fn append(&self, report: Report) {
        self.lock().report.append(report);
    }

    /// Records a failure. If there is one already, the new one is returned, because dropping it may
    /// run user code, which must not happen under the lock.
    #[must_use]
    pub(crate) fn set_failure(&self, failure: RunFailure) -> Option<RunFailure> {
        let mut log = self.lock();
        if log.failure.is_some() {
            return Some(failure);
        }
        let is_stuck = matches!(failure, RunFailure::Deadlock(_) | RunFailure::TickLimit(_));
        log.deadlock_first = is_stuck && log.report.is_empty();
        log.failure = Some(failure);
        None
    }

    /// Replaces all recorded errors with a failure that explains them.
    pub(crate) fn replace_with(&self, failure: RunFailure) {
        let log = Log { failure: Some(failure), ..Log::default() };
        let replaced = mem::replace(&mut *self.lock(), log);
        // Without the lock: an error of a driver may contain a value of the program.
        panics::ignore(|| drop(replaced));
    }

    /// Takes the cause of the run's failure: its violations, unless they belong to the forced end
    /// of a run that was stuck.
    pub(crate) fn take(&self) -> Option<RecordedError> {
        let Log { mut report, failure, deadlock_first } = mem::take(&mut *self.lock());
        if report.is_empty() || deadlock_first {
            return failure.map(RecordedError::Failed);
        }
        report.add_causes(failure.map(RunFailure::into_causes).unwrap_or_default());
        Some(RecordedError::Violated(report))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::Arc;

    use super::*;

    /// An error of a driver, which uses the log when it is dropped.
    struct UsesLog(Arc<ErrorLog>);

    impl Drop for UsesLog {
        fn drop(&mut self) {
            crate::locks::assert_none_held();
            let rejected = self.0.set_failure(RunFailure::TickLimit(1));
            assert!(rejected.is_some(), "the log contains a failure by now");
        }
    }

    impl fmt::Debug for UsesLog {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("UsesLog")
        }
    }

    impl fmt::Display for UsesLog {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("UsesLog")
        }
    }

    impl std::error::Error for UsesLog {}

    #[test]
    fn f7_a_failure_that_is_replaced_or_taken_is_dropped_without_the_lock() {
        let log = Arc::new(ErrorLog::default());
        for _ in 0..2 {
            let error = io::Error::other(UsesLog(Arc::clone(&log)));
            assert!(log.set_failure(RunFailure::Driver(error)).is_none());
            log.replace_with(RunFailure::TickLimit(7));
            let taken = log.take();
            assert!(matches!(taken, Some(RecordedError::Failed(RunFailure::TickLimit(7)))));
        }
        assert!(log.take().is_none());
    }
}
