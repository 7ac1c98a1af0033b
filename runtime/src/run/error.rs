use std::error::Error;
use std::fmt;
use std::io;

use crate::domain::{RecordedError, Run, RunFailure};
use crate::simulation::Deadlock;
use crate::task::{Cancelled, Outcome, Panic, TaskError};
use crate::violation::Report;

/// The default error type of `main`: any error.
pub type MainError = Box<dyn Error + Send + Sync>;

/// Why a run failed. `E` is the error type of its `main`.
///
/// Its `Debug` output is the same as its `Display` output, because Rust prints the former when
/// `fn main` returns an error.
#[non_exhaustive]
pub enum RunError<E = MainError> {
    /// `main` returned this error.
    Failed(E),
    /// `main` or a signal handler panicked.
    Panicked(Panic),
    /// Rules were violated.
    Violated(Report),
    /// The run could not start: the system has no descriptor for a driver or no thread for a
    /// domain, or a setting is invalid.
    Setup(io::Error),
    /// A driver could not wait for events.
    Driver(io::Error),
    /// `run` was called inside another run, and would have blocked a domain of it.
    Nested,
    /// `main` was cancelled.
    Cancelled(Cancelled),
    /// No task can make progress. Only a [simulated](crate::test) run detects it.
    Deadlock(Deadlock),
    /// A [simulated](crate::test) run did not finish within this number of ticks.
    TickLimit(u64),
}

impl<E> RunError<E> {
    /// Returns the report, if the run failed because rules were violated.
    pub fn report(&self) -> Option<&Report> {
        match self {
            RunError::Violated(report) => Some(report),
            _ => None,
        }
    }
}

/// Returns the result of a run whose root has completed with `outcome`. A recorded violation or
/// failure takes precedence.
pub(crate) fn result_of<T, E>(
    run: &Run,
    outcome: impl FnOnce() -> Outcome<T, E>,
) -> Result<T, RunError<E>> {
    if let Some(error) = run.errors().take() {
        return Err(error.into());
    }
    outcome().map_err(|error| match error {
        TaskError::Failed(error) => RunError::Failed(error),
        TaskError::Panicked(panic) => RunError::Panicked(panic),
        TaskError::Cancelled(cancelled) => RunError::Cancelled(cancelled),
    })
}

impl<E> From<RecordedError> for RunError<E> {
    fn from(error: RecordedError) -> RunError<E> {
        match error {
            RecordedError::Violated(report) => RunError::Violated(report),
            RecordedError::Failed(RunFailure::Driver(error)) => RunError::Driver(error),
            RecordedError::Failed(RunFailure::SignalHandler(panic)) => RunError::Panicked(panic),
            RecordedError::Failed(RunFailure::Deadlock(deadlock)) => RunError::Deadlock(deadlock),
            RecordedError::Failed(RunFailure::TickLimit(ticks)) => RunError::TickLimit(ticks),
        }
    }
}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Failed(error) => write!(f, "main failed: {error}"),
            RunError::Panicked(panic) => fmt::Display::fmt(panic, f),
            RunError::Violated(report) => fmt::Display::fmt(report, f),
            RunError::Setup(error) => write!(f, "failed to start the run: {error}"),
            RunError::Driver(error) => write!(f, "failed to wait for events: {error}"),
            RunError::Nested => f.write_str(
                "a run cannot start inside a task of another run, because it would block that \
                 task's domain; spawn a child, or start it on a separate thread",
            ),
            RunError::Cancelled(cancelled) => fmt::Display::fmt(cancelled, f),
            RunError::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            RunError::TickLimit(ticks) => write!(
                f,
                "the run did not finish within {ticks} ticks: look for a task that keeps waking \
                 itself, or raise `Check::max_ticks`"
            ),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: fmt::Display> Error for RunError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Setup(error) | RunError::Driver(error) => Some(error),
            RunError::Panicked(panic) => Some(panic),
            RunError::Deadlock(deadlock) => Some(deadlock),
            _ => None,
        }
    }
}
