//! Shared by the tests: runs with a deadline, logs and counters of events, test doubles, and tests
//! that run themselves again in a child process.
//!
//! No helper sleeps to wait for another thread. A test waits for the event that it needs, and a
//! deadline turns a hang into a failure that names the test. In some tests, which assert nothing
//! else, the deadline is the assertion: they fail if an event never happens.

#![allow(dead_code, unused_imports, reason = "each module uses what it needs")]

mod default_runs;
mod doubles;
mod findings;
mod io;
mod log;
mod manual_clock;
mod many;
mod offers;
mod place;
mod process;
mod run;
mod scenario;

pub(crate) use default_runs::*;
pub(crate) use doubles::*;
pub(crate) use findings::{Findings, forgotten};
pub(crate) use io::{io_pair, poll_read_byte, read_byte};
pub(crate) use log::{CountPolls, Counter, Log, LogOnDrop, count_polls, leak};
pub(crate) use manual_clock::ManualClock;
pub(crate) use many::{wait_with_many, waiting};
pub(crate) use offers::{OFFER_SEEDS, everywhere, waiters};
pub(crate) use place::Place;
pub(crate) use process::{
    child_output, child_output_with, count_signals, is_child_process, raise,
    rerun_in_child_process, this_test,
};
pub(crate) use run::{
    DEADLINE, Reports, fewer, leaked, report, run_on, run_with, strict, violation, within_deadline,
    within_deadline_on_stack,
};
pub(crate) use scenario::{Run, Scenario, scenario};

use std::future::Future;
use std::pin::Pin;

/// Makes a future on the thread that runs it. Boxed, because the runtime's generic code would
/// otherwise be compiled once for each test, which takes minutes.
type MakeFuture<T> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = T>>> + Send>;
