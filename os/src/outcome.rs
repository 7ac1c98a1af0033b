//! The outcomes of this crate's own tasks.

use std::io;
use std::panic::resume_unwind;

use matou_runtime::{Outcome, TaskError};

/// Returns the value of a task of this crate, which fails by errors of the system only.
pub(crate) fn into_result<T>(outcome: Outcome<T, io::Error>) -> io::Result<T> {
    outcome.map_err(|error| match error {
        TaskError::Failed { error, .. } => error,
        TaskError::Panicked(panic) => resume_unwind(panic.into_payload()),
        other => io::Error::other(other.to_string()),
    })
}
