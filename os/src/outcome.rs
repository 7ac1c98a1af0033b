//! The outcomes of this crate's own tasks, and the panic of a future polled after completion.

use std::io;
use std::panic::{Location, resume_unwind};

use matou_runtime::{Outcome, TaskError};

/// Returns the value of a task of this crate, which fails by errors of the system only.
pub(crate) fn into_result<T>(outcome: Outcome<T, io::Error>) -> io::Result<T> {
    outcome.map_err(|error| match error {
        TaskError::Failed { error, .. } => error,
        TaskError::Panicked(panic) => resume_unwind(panic.into_payload()),
        other => io::Error::other(other.to_string()),
    })
}

/// Panics because a future is polled after completion. The poll may come from a combinator of
/// another crate, so the message names the line that created the future.
#[cold]
#[track_caller]
pub(crate) fn polled_after_completion(future: &str, created_at: &Location<'_>) -> ! {
    panic!("{future} polled after completion; created at {created_at}")
}
