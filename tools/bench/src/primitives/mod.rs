//! The small operations of a runtime, the same program in each.

#[cfg(feature = "peers")]
mod compio;
mod matou;
#[cfg(feature = "peers")]
mod monoio;
#[cfg(feature = "peers")]
mod smol;
#[cfg(feature = "peers")]
mod threads;
#[cfg(feature = "peers")]
mod tokio;

use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::figure::Kind;
use crate::meter::{Cost, Meter};

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
    pub(crate) kind: Kind,
    pub(crate) operations: u64,
    /// How many belong together; fewer, or a part of these, are not done.
    pub(crate) step: u64,
    /// Whether its instructions are counted, which needs programs that do the same every time.
    pub(crate) counted: bool,
}

impl Work {
    /// About so many operations, in whole steps.
    pub(crate) fn about(&self, operations: u64) -> u64 {
        operations.div_ceil(self.step) * self.step
    }
}

const fn work(
    kind: Kind,
    name: &'static str,
    about: &'static str,
    (operations, step): (u64, u64),
) -> Work {
    Work { name, about, kind, operations, step, counted: false }
}

/// A work whose instructions are counted.
const fn counted(name: &'static str, about: &'static str, operations: u64) -> Work {
    let about_it = work(Kind::Primitive, name, about, (operations, 1000));
    Work { counted: true, ..about_it }
}

const fn one(name: &'static str, about: &'static str, operations: (u64, u64)) -> Work {
    work(Kind::Primitive, name, about, operations)
}

const fn two(name: &'static str, about: &'static str, operations: (u64, u64)) -> Work {
    work(Kind::Across, name, about, operations)
}

const CROWD: (u64, u64) = (100_000, 100_000);

pub(crate) const WORKS: &[Work] = &[
    counted("spawn", "spawn a task and await it, one at a time", 1_000_000),
    counted("spawn-1000", "spawn 1,000 tasks, await all", 1_000_000),
    one("spawn-100000", "spawn 100,000 tasks, await all", (500_000, 100_000)),
    counted("yield-2", "yield between two tasks", 4_000_000),
    counted("yield-1000", "yield among 1,000 tasks", 4_000_000),
    counted("lock", "lock and unlock a mutex that nobody else wants", 10_000_000),
    counted("lock-2", "a mutex that two tasks want, held over a yield", 1_000_000),
    counted("lock-64", "a mutex that 64 tasks want, held over a yield", 500_000),
    counted("notify", "ping-pong by conditions on one thread", 1_000_000),
    one("queue", "a value through a queue of 64 places, on one thread", (2_000_000, 1000)),
    counted("timer", "set a timer far away and drop it", 2_000_000),
    one("timer-million", "set 1,000,000 timers, then drop them", (1_000_000, 1_000_000)),
    one("sleepers", "100,000 tasks that sleep for 100 ms", CROWD),
    one("cancel-fan", "cancel 100,000 children and await their ends", CROWD),
    one("cancel-chain", "cancel a chain of 100,000 tasks and await its end", CROWD),
    counted("own", "own a resource, check it, release it", 5_000_000),
    counted("check", "check a resource while 1,000 others are held", 50_000_000),
    two("call", "a task to another thread and back, that one idle", (20_000, 1000)),
    two("call-busy", "a task to another thread and back, that one busy", (50_000, 1000)),
    two("call-1000", "1,000 tasks to another thread, await all", (300_000, 1000)),
    two("give", "a resource to a task of another thread, and back", (20_000, 1000)),
    two("give-1000", "1,000 resources to 1,000 tasks elsewhere, and back", (100_000, 1000)),
    two("wake", "a wake from a foreign thread, and one back", (20_000, 1000)),
    two("notify-2", "ping-pong by conditions between two threads", (20_000, 1000)),
    two("lock-domains", "a mutex that two threads want all the time", (1_000_000, 1000)),
    two("queue-2", "a value through a queue of 64 places to another thread", (300_000, 1000)),
    work(Kind::Memory, "memory", "an idle task of a future of 64 bytes", CROWD),
];

pub(crate) use matou::stop_the_clock;

/// All programs.
pub(crate) fn programs() -> Vec<Program> {
    #[cfg(feature = "peers")]
    let peers = [
        [tokio::PROGRAMS, smol::PROGRAMS, monoio::PROGRAMS, compio::PROGRAMS],
        [tokio::ACROSS, smol::ACROSS, threads::PROGRAMS, &[]],
    ];
    #[cfg(not(feature = "peers"))]
    let peers: [[&[Row]; 0]; 0] = [];
    let rows = [matou::PROGRAMS, matou::ACROSS].into_iter().chain(peers.into_iter().flatten());
    rows.flatten().map(|&(runtime, work, run)| Program { work, runtime, run }).collect()
}

/// A runtime's name, a work's name, and the program.
type Row = (&'static str, &'static str, fn(u64) -> Cost);

/// How long sleepers sleep.
const NAP: Duration = Duration::from_millis(100);

/// After how many new sleepers they are let begin. If all were made first and began then, they
/// would be due in half the time that it takes to wake them and to let them end.
const NEW_SLEEPERS: u64 = 16;

/// How late sleepers woke: the 99th percentile, in microseconds.
fn lateness(mut late: Vec<Duration>) -> Option<f64> {
    late.sort();
    let index = late.len() * 99 / 100;
    late.get(index).map(|late| late.as_secs_f64() * 1e6)
}

/// A future that is pending for ever, and has 64 bytes.
async fn idle() {
    let ballast = [1_u8; 64];
    std::future::pending::<()>().await;
    std::hint::black_box(&ballast);
}

/// Sets so many timers, and drops them when all are set.
fn set_and_drop<F: Future>(n: u64, timer: impl Fn() -> F) -> Cost {
    let mut timers: Vec<Pin<Box<F>>> = Vec::with_capacity(n as usize);
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let meter = Meter::start();
    for _ in 0..n {
        let mut timer = Box::pin(timer());
        assert!(timer.as_mut().poll(&mut cx).is_pending());
        timers.push(timer);
    }
    drop(timers);
    meter.stop(n)
}

/// How late it is now.
fn since(due: Instant) -> Duration {
    Instant::now().saturating_duration_since(due)
}

/// A thread of no runtime wakes the task, and is told when it has run.
async fn wake_from_a_thread(n: u64) -> Cost {
    let (to_thread, wakers) = std::sync::mpsc::sync_channel::<Waker>(1);
    let thread = std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
    let meter = Meter::start();
    for _ in 0..n {
        let mut asked = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            to_thread.send(cx.waker().clone()).expect("the thread listens");
            Poll::Pending
        })
        .await;
    }
    let cost = meter.stop(n);
    drop(to_thread);
    thread.join().expect("it ends well");
    cost
}
