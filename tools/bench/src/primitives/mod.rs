//! Small operations, the same program in each runtime.

mod common;
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
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::cost::{Cost, Meter};
use crate::figure::Kind;
use common::{common_programs, lock_programs};

/// A program in one runtime. It takes the number of operations, and returns the cost of one.
pub(crate) struct Program {
    pub(crate) work: &'static str,
    pub(crate) runtime: &'static str,
    pub(crate) run: fn(u64) -> Cost,
}

/// A workload, and how often it is run.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) operations: u64,
    /// The number of operations is a multiple of this.
    pub(crate) step: u64,
    /// Whether its instructions are counted, which needs a deterministic program.
    pub(crate) counted: bool,
}

impl Work {
    /// Rounds a number of operations up to whole steps.
    pub(crate) fn whole_steps(&self, operations: u64) -> u64 {
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

/// A workload whose instructions are counted.
const fn counted(name: &'static str, about: &'static str, operations: u64) -> Work {
    Work { counted: true, ..work(Kind::Primitive, name, about, (operations, 1000)) }
}

const fn one(name: &'static str, about: &'static str, operations: (u64, u64)) -> Work {
    work(Kind::Primitive, name, about, operations)
}

const fn two(name: &'static str, about: &'static str, operations: (u64, u64)) -> Work {
    work(Kind::Across, name, about, operations)
}

const MANY: (u64, u64) = (100_000, 100_000);

pub(crate) const WORKS: &[Work] = &[
    counted("spawn", "spawn a task and await it, one at a time", 1_000_000),
    counted("spawn-1000", "spawn 1,000 tasks, await all", 1_000_000),
    one("spawn-100000", "spawn 100,000 tasks, await all", (500_000, 100_000)),
    counted("yield-2", "yield between two tasks", 4_000_000),
    counted("yield-1000", "yield among 1,000 tasks", 4_000_000),
    counted("lock", "lock and unlock an uncontended mutex", 10_000_000),
    counted("lock-2", "a mutex contended by 2 tasks, held over a yield", 1_000_000),
    counted("lock-64", "a mutex contended by 64 tasks, held over a yield", 500_000),
    counted("notify", "ping-pong by conditions on one thread", 1_000_000),
    one("queue", "a value through a queue of capacity 64, on one thread", (2_000_000, 1000)),
    one("semaphore", "acquire and return an uncontended permit", (5_000_000, 1000)),
    one("read", "an uncontended reader-writer lock, for reading", (5_000_000, 1000)),
    one("write", "an uncontended reader-writer lock, for writing", (5_000_000, 1000)),
    one("once-cell", "get a value that is computed already", (10_000_000, 1000)),
    one("oneshot", "create a computation, complete it, take its value", (2_000_000, 1000)),
    one("trigger", "signal a trigger, and take the signal", (5_000_000, 1000)),
    one("barrier", "two tasks of one thread meet at a barrier", (500_000, 1000)),
    counted("timer", "set a timer and drop it before it expires", 2_000_000),
    one("timer-million", "set 1,000,000 timers, then drop them", (1_000_000, 1_000_000)),
    one("sleepers", "100,000 tasks that sleep for 100 ms", MANY),
    one("cancel-fan", "cancel 100,000 children and await them", MANY),
    one("cancel-chain", "cancel a chain of 100,000 tasks and await it", MANY),
    counted("own", "own a resource, check it, release it", 5_000_000),
    counted("check", "check a resource while 1,000 others are held", 50_000_000),
    two("call", "spawn on another thread, which is idle, and await", (20_000, 1000)),
    two("call-busy", "spawn on another thread, which is busy, and await", (50_000, 1000)),
    two("call-1000", "spawn 1,000 tasks on another thread, await all", (300_000, 1000)),
    two("give", "transfer a resource to a task of another thread, and back", (20_000, 1000)),
    two(
        "give-1000",
        "transfer 1,000 resources to 1,000 tasks of another thread, and back",
        (100_000, 1000),
    ),
    two("wake", "wake a task from a thread outside of the runtime", (20_000, 1000)),
    two("notify-2", "ping-pong by conditions between two threads", (20_000, 1000)),
    two("lock-domains", "a mutex contended by two threads", (1_000_000, 1000)),
    two("blocking", "run a blocking job that does nothing, and await it", (20_000, 1000)),
    two("queue-2", "a value through a queue of capacity 64 to another thread", (300_000, 1000)),
    work(Kind::Memory, "memory", "an idle task with a future of 64 bytes", MANY),
];

pub(crate) use matou::freeze_clock;

/// All programs.
pub(crate) fn programs() -> Vec<Program> {
    #[cfg(feature = "peers")]
    let peers = [
        [tokio::PROGRAMS, smol::PROGRAMS, monoio::PROGRAMS, compio::PROGRAMS],
        [tokio::ACROSS, smol::ACROSS, threads::PROGRAMS, &[]],
        [tokio::SYNC, smol::SYNC, &[], &[]],
    ];
    #[cfg(not(feature = "peers"))]
    let peers: [[&[Row]; 0]; 0] = [];
    let rows = [matou::PROGRAMS, matou::ACROSS, matou::SYNC];
    let rows = rows.into_iter().chain(peers.into_iter().flatten());
    rows.flatten().map(|&(runtime, work, run)| Program { work, runtime, run }).collect()
}

/// The name of a runtime, that of a workload, and the program.
type Row = (&'static str, &'static str, fn(u64) -> Cost);

/// A timer that does not expire while it is measured.
const FAR: Duration = Duration::from_secs(1000);

/// How long sleepers sleep.
const SLEEP: Duration = Duration::from_millis(100);

/// Number of sleepers after which they may start. If all were spawned before the first one starts,
/// they would be due in half the time that waking and completing them takes.
const NEW_SLEEPERS: u64 = 16;

/// How late sleepers were woken.
#[derive(Clone)]
struct Lateness(Arc<Mutex<Vec<Duration>>>);

impl Lateness {
    fn new(sleepers: u64) -> Lateness {
        Lateness(Arc::new(Mutex::new(Vec::with_capacity(sleepers as usize))))
    }

    fn record(&self, due: Instant) {
        let late = Instant::now().saturating_duration_since(due);
        self.0.lock().expect("no panic").push(late);
    }

    fn p99_us(&self) -> Option<f64> {
        let mut late = self.0.lock().expect("no panic");
        late.sort();
        late.get(late.len() * 99 / 100).map(|late| late.as_secs_f64() * 1e6)
    }
}

/// A future of 64 bytes that is always pending.
async fn idle() {
    let ballast = [1_u8; 64];
    std::future::pending::<()>().await;
    std::hint::black_box(&ballast);
}

/// Sets `n` timers, and drops them once all are set.
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

/// A thread outside of the runtime wakes the task; the task then sends the next waker to it.
async fn wake_from_a_thread(n: u64) -> Cost {
    let (to_thread, wakers) = std::sync::mpsc::sync_channel::<Waker>(1);
    let thread = std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
    let meter = Meter::start();
    for _ in 0..n {
        let mut requested = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut requested, true) {
                return Poll::Ready(());
            }
            to_thread.send(cx.waker().clone()).expect("the thread runs");
            Poll::Pending
        })
        .await;
    }
    let cost = meter.stop(n);
    drop(to_thread);
    thread.join().expect("it does not panic");
    cost
}
