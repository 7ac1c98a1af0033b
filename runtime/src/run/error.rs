use std::error::Error;
use std::fmt;
use std::io;

use crate::task::{Cancelled, Outcome, Panic, TaskError};
use crate::test::Deadlock;
use crate::violation::Report;

/// What `main` fails with unless it says otherwise: any error at all.
pub type MainError = Box<dyn Error + Send + Sync>;

/// Why a run failed. `E` is the error type of its `main`.
///
/// Its `Debug` text is made for people, because that is what Rust prints when `fn main` returns an
/// error.
#[non_exhaustive]
pub enum RunError<E = MainError> {
    /// `main` returned this error.
    Failed(E),
    /// `main`, or the handler of a signal, panicked.
    Panicked(Panic),
    /// Rules were broken, by these tasks.
    Violated(Report),
    /// The run could not begin: no descriptors for a driver, no thread for a domain, or a setting
    /// that makes no sense.
    Setup(io::Error),
    /// A domain's driver could not wait for events.
    Driver(io::Error),
    /// `run` was called by a task of another run: it would block that task's domain.
    Nested,
    /// `main` was ended from outside.
    Cancelled(Cancelled),
    /// Nothing could ever run again. Only a [simulated](crate::test) run can tell.
    Deadlock(Deadlock),
    /// A [simulated](crate::test) run took this many turns and did not end.
    TickLimit(u64),
}

impl<E> RunError<E> {
    /// Returns the broken rules, if that is why the run failed.
    pub fn report(&self) -> Option<&Report> {
        match self {
            RunError::Violated(report) => Some(report),
            _ => None,
        }
    }
}

/// What the outcome of `main` makes of the run, if nothing else went wrong.
pub(crate) fn verdict<T, E>(outcome: Outcome<T, E>) -> Result<T, RunError<E>> {
    outcome.map_err(|error| match error {
        TaskError::Failed(error) => RunError::Failed(error),
        TaskError::Panicked(panic) => RunError::Panicked(panic),
        TaskError::Cancelled(cancelled) => RunError::Cancelled(cancelled),
    })
}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Failed(error) => write!(f, "main failed: {error}"),
            RunError::Panicked(panic) => fmt::Display::fmt(panic, f),
            RunError::Violated(report) => fmt::Display::fmt(report, f),
            RunError::Setup(error) => write!(f, "failed to begin the run: {error}"),
            RunError::Driver(error) => write!(f, "failed to wait for events: {error}"),
            RunError::Nested => f.write_str(
                "a run cannot begin inside a task of another run, whose domain it would block; \
                 spawn a child, or begin it on a thread of its own",
            ),
            RunError::Cancelled(cancelled) => fmt::Display::fmt(cancelled, f),
            RunError::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            RunError::TickLimit(turns) => write!(
                f,
                "the run did not finish within {turns} ticks: look for a task that keeps waking \
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
