//! The small operations of a runtime, the same program in each.

mod matou;
mod monoio;
mod smol;
mod threads;
mod tokio;

use std::time::{Duration, Instant};

use crate::meter::Cost;

/// A program in one runtime: it does so many operations, and says what one costs.
pub(crate) struct Program {
    pub(crate) work: &'static str,
    pub(crate) runtime: &'static str,
    pub(crate) run: fn(u64) -> Cost,
}

/// A kind of work, and how often it is done.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) operations: u64,
    /// Whether its instructions are counted, which needs programs that do the same every time.
    pub(crate) counted: bool,
}

const fn work(name: &'static str, about: &'static str, operations: u64, counted: bool) -> Work {
    Work { name, about, operations, counted }
}

pub(crate) const WORKS: &[Work] = &[
    work("spawn", "spawn a task and await it, one at a time", 1_000_000, true),
    work("spawn-1000", "spawn 1,000 tasks, await all", 1_000_000, true),
    work("spawn-100000", "spawn 100,000 tasks, await all", 1_000_000, false),
    work("yield-2", "yield between two tasks", 4_000_000, true),
    work("yield-1000", "yield among 1,000 tasks", 4_000_000, true),
    work("call", "a task to another thread and back, that one idle", 30_000, false),
    work("call-1000", "1,000 tasks to another thread, await all", 300_000, false),
    work("wake", "a wake from a foreign thread, and one back", 30_000, false),
    work("lock", "lock and unlock a mutex that nobody else wants", 10_000_000, true),
    work("lock-2", "a mutex that two tasks want, held over a yield", 1_000_000, true),
    work("lock-64", "a mutex that 64 tasks want, held over a yield", 500_000, true),
    work("notify", "ping-pong by conditions on one thread", 1_000_000, true),
    work("notify-2", "ping-pong by conditions between two threads", 30_000, false),
    work("timer", "set a timer far away and drop it", 2_000_000, true),
    work("sleepers", "100,000 tasks that sleep for 100 ms", 100_000, false),
    work("cancel-fan", "cancel 100,000 children and await their ends", 100_000, false),
    work("cancel-chain", "cancel a chain of 10,000 tasks and await its end", 10_000, false),
    work("own", "own a resource, check it, release it", 5_000_000, true),
    work("check", "check a resource while 1,000 others are held", 50_000_000, true),
    work("memory", "an idle task of a future of 64 bytes", 100_000, false),
];

/// All programs.
pub(crate) fn programs() -> Vec<Program> {
    [matou::PROGRAMS, tokio::PROGRAMS, smol::PROGRAMS, monoio::PROGRAMS, threads::PROGRAMS]
        .into_iter()
        .flatten()
        .map(|&(runtime, work, run)| Program { work, runtime, run })
        .collect()
}

/// A runtime's name, a work's name, and the program.
type Row = (&'static str, &'static str, fn(u64) -> Cost);

/// How long sleepers sleep.
const NAP: Duration = Duration::from_millis(100);

/// How late sleepers woke: the 99th percentile, in microseconds.
fn lateness(mut late: Vec<Duration>) -> f64 {
    late.sort();
    let index = late.len() * 99 / 100;
    late.get(index).map_or(0.0, |late| late.as_secs_f64() * 1e6)
}

/// A future that is pending for ever, and has 64 bytes.
async fn idle() {
    let ballast = [1_u8; 64];
    std::future::pending::<()>().await;
    std::hint::black_box(&ballast);
}

/// How late it is now.
fn since(due: Instant) -> Duration {
    Instant::now().saturating_duration_since(due)
}
