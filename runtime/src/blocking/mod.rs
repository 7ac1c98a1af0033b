//! Jobs that block: a pool of threads that runs them, and their counterpart in simulated runs.
//!
//! A job is a closure with a [`Stop`] flag. Its task, which waits for it on a domain, is in
//! `spawn::blocking`.

/// Compiles and runs the examples in the page on blocking work.
#[cfg(doctest)]
#[doc = include_str!("../../docs/blocking.md")]
mod page {}

mod job;
mod pool;
mod stepped;
mod stop;

use std::cell::Cell;

pub(crate) use job::PooledJob;
pub(crate) use pool::Pool;
pub(crate) use stepped::{Stepped, SteppedJob};
pub use stop::Stop;

use crate::outcome::Panic;

thread_local! {
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the current thread is running a job.
pub(crate) fn in_job() -> bool {
    IN_JOB.try_with(Cell::get).unwrap_or(false)
}

/// Runs the closure of a job on a thread that runs no domain.
fn run_job<T>(job: impl FnOnce() -> T) -> Result<T, Panic> {
    IN_JOB.set(true);
    let result = Panic::catch(job);
    IN_JOB.set(false);
    result
}
