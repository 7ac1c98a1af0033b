use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::diagnostic::{Finding, Report, TaskInfo};
use crate::domain::{RecordedError, Run, RunFailure};
use crate::error_chain::{WithSources, source_of};
use crate::outcome::{Outcome, Panic, TaskError, discard};
use crate::simulation::Deadlock;
use crate::task::{Cancelled, TaskId, TaskMeta};

/// The default error type of `main`: any error.
pub type MainError = Box<dyn Error + Send + Sync>;

/// Why a run failed. `E` is the error type of its `main`.
///
/// `{}` writes the error of `main` in one line. `{:#}` and `{:?}`, which Rust prints when `fn main`
/// returns an error, write in addition one line for each task that the error passed through, with
/// the line that spawned it, and for each source of the error. Sources are known if the error of
/// the task is a boxed error, an [`io::Error`], or an error of `anyhow` or `eyre`.
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use matou_runtime::{RunError, run};
///
/// #[derive(Debug)]
/// struct BadConfig(ParseIntError);
///
/// impl std::fmt::Display for BadConfig {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("the configuration is bad")
///     }
/// }
///
/// impl std::error::Error for BadConfig {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         Some(&self.0)
///     }
/// }
///
/// let result: Result<u16, RunError> = run(async {
///     let port = "many".parse::<u16>().map_err(BadConfig)?;
///     Ok(port)
/// });
/// let printed = format!("{:?}", result.unwrap_err());
/// assert_eq!(
///     printed,
///     "main failed: the configuration is bad\n  caused by: invalid digit found in string",
/// );
/// ```
#[non_exhaustive]
pub enum RunError<E = MainError> {
    /// `main` returned this error.
    Failed(E),
    /// `main` or a signal handler panicked.
    Panicked(Panic),
    /// Rules were violated: by `main`, by a signal handler, or by code outside any task. With
    /// [`Violations::FailRun`](crate::Violations::FailRun): by any task.
    Violated(Report),
    /// The run could not start: the system has no descriptor for a driver or no thread for a
    /// domain, or a setting is invalid.
    Setup(io::Error),
    /// A driver could not wait for events.
    Driver(io::Error),
    /// `run` was called, or a [`Runtime`](crate::Runtime) started or shut down, inside a task of a
    /// run, and would have blocked its domain.
    Nested,
    /// The process was forked inside the run, and this is the new process. The run goes on in its
    /// parent; in the new process it was abandoned, and nothing was dropped or finalized.
    Forked,
    /// A [`Runtime`](crate::Runtime) was shut down, and a domain handled no messages in the time
    /// that tasks have for their ends: a poll on it does not return. Its thread was left behind.
    #[non_exhaustive]
    Stuck {
        /// The number of the domain.
        domain: usize,
        /// How long it handled no messages.
        waited: Duration,
    },
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

/// Returns the result of a run. `outcome` is that of the root; `None` if the root could not
/// complete, and then a failure is recorded. `main` describes the root.
///
/// A recorded violation or failure takes precedence. The outcome is dropped then, and the failures
/// in it become a part of the error, or are reported. So nothing that its drop does can hide the
/// error.
pub(crate) fn result_of<T, E: 'static>(
    run: &Run,
    main: &TaskMeta,
    outcome: Option<Outcome<T, E>>,
) -> Result<T, RunError<E>> {
    let result = match (run.errors().take(), outcome) {
        (None, Some(outcome)) => outcome.map_err(RunError::of_root),
        (None, None) => unreachable!("a run whose root did not complete has failed"),
        (Some(RecordedError::Violated(mut report)), outcome) => {
            match outcome {
                // With `FailRun` its violations are in the report already.
                Some(Err(TaskError::Violation(own))) if run.is_failed_by_violations() => {
                    report.add_causes(own.into_further_causes());
                }
                Some(Err(TaskError::Violation(own))) => report.append(own),
                // fault: main-outcome-drop-unwinds
                Some(outcome) => report.add_causes(discard(outcome)),
                None => {}
            }
            Err(RunError::Violated(report))
        }
        (Some(RecordedError::Failed(failure)), outcome) => {
            report_unseen(run, main, outcome);
            Err(RunError::from(failure))
        }
    };
    run.reporter().finish();
    result
}

/// Reports the failure of a root whose run has failed for another reason.
fn report_unseen<T, E: 'static>(run: &Run, main: &TaskMeta, outcome: Option<Outcome<T, E>>) {
    let causes = outcome.map(discard).unwrap_or_default();
    if !causes.is_empty() {
        let name = main.name();
        let task = TaskInfo { name, ..TaskInfo::unknown(TaskId::ROOT, 0, main.spawned_at) };
        run.report_now(Finding::FailureUnseen { task, causes });
    }
}

impl<E> RunError<E> {
    /// Returns the error of a run whose root has ended with `error`.
    fn of_root(error: TaskError<E>) -> RunError<E> {
        match error {
            TaskError::Failed { error, .. } => RunError::Failed(error),
            TaskError::Panicked(panic) => RunError::Panicked(panic),
            TaskError::Cancelled(cancelled) | TaskError::Unfinished(cancelled) => {
                RunError::Cancelled(cancelled)
            }
            TaskError::Violation(report) => RunError::Violated(report),
        }
    }
}

impl<E> From<RunFailure> for RunError<E> {
    fn from(failure: RunFailure) -> RunError<E> {
        match failure {
            RunFailure::Driver(error) => RunError::Driver(error),
            RunFailure::SignalHandler(panic) => RunError::Panicked(panic),
            RunFailure::Deadlock(deadlock) => RunError::Deadlock(deadlock),
            RunFailure::TickLimit(ticks) => RunError::TickLimit(ticks),
        }
    }
}

impl<E: fmt::Display + 'static> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Failed(error) if f.alternate() => {
                write!(f, "main failed: {}", WithSources(error))
            }
            RunError::Failed(error) => write!(f, "main failed: {error}"),
            RunError::Panicked(panic) => fmt::Display::fmt(panic, f),
            RunError::Violated(report) => fmt::Display::fmt(report, f),
            RunError::Setup(error) => write!(f, "failed to start the run: {error}"),
            RunError::Driver(error) => write!(f, "failed to wait for events: {error}"),
            RunError::Nested => f.write_str(
                "a run can neither start nor be shut down inside a task of a run, because it would \
                 block that task's domain; spawn a child, or use a separate thread",
            ),
            RunError::Forked => f.write_str(
                "the process was forked inside the run, which goes on in the parent process; the \
                 new process must end or call `exec` or `run` in the task that forked it",
            ),
            RunError::Stuck { domain, waited } => write!(
                f,
                "domain {domain} did not stop: it has handled no message for {waited:?}, so a poll \
                 on it does not return; its thread is left behind"
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

impl<E: fmt::Display + 'static> fmt::Debug for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl<E: fmt::Display + 'static> Error for RunError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Failed(error) => source_of(error),
            RunError::Setup(error) | RunError::Driver(error) => Some(error),
            RunError::Panicked(panic) => Some(panic),
            RunError::Deadlock(deadlock) => Some(deadlock),
            _ => None,
        }
    }
}
