mod across;
mod sync;

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use matou_ownership::{Owned, check};
use matou_runtime::{
    Builder, Driver, MainError, Outcome, ParkTimeout, Poller, Reactor, Unpark, await_all, sleep,
    sleep_until, spawn, yield_now,
};
use matou_sync::Mutex;

use super::{Row, common_programs, idle, lock_programs};
use crate::cost::{Cost, Meter};

pub(super) use across::PROGRAMS as ACROSS;
pub(super) use sync::PROGRAMS as SYNC;

const NAME: &str = "matou";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |n| on(1, spawn_one(n))),
    (NAME, "spawn-1000", |n| on(1, spawn_many(n, 1000))),
    (NAME, "spawn-100000", |n| on(1, spawn_many(n, 100_000))),
    (NAME, "yield-2", |n| on(1, yields(n, 2))),
    (NAME, "yield-1000", |n| on(1, yields(n, 1000))),
    (NAME, "lock", |n| on(1, lock(n))),
    (NAME, "lock-2", |n| on(1, contend(n, 2))),
    (NAME, "lock-64", |n| on(1, contend(n, 64))),
    (NAME, "notify", |n| on(1, across::notify(n, false))),
    (NAME, "queue", |n| on(1, across::queue(n, false))),
    (NAME, "timer", |n| on(1, timer(n))),
    (NAME, "timer-million", |n| on(1, timers(n))),
    (NAME, "sleepers", |n| on(1, sleepers(n))),
    (NAME, "cancel-fan", |n| on(1, cancel_fan(n))),
    (NAME, "cancel-chain", |n| on(1, cancel_chain(n))),
    (NAME, "own", |n| on(1, own(n))),
    (NAME, "check", |n| on(1, check_many(n))),
    (NAME, "memory", |n| on(1, memory(n))),
];

fn on(domains: usize, main: impl Future<Output = Cost> + 'static) -> Cost {
    let mut builder = Builder::new().domains(domains);
    if FROZEN.load(Ordering::Relaxed) {
        builder =
            builder.driver(|_| Ok(FrozenClock { reactor: Reactor::new()?, now: Instant::now() }));
    }
    let run = builder.run(async { Ok::<_, MainError>(main.await) });
    run.unwrap_or_else(|error| panic!("{error}"))
}

static FROZEN: AtomicBool = AtomicBool::new(false);

/// Freezes the time that domains see, so that the number of instructions does not depend on it.
pub(crate) fn freeze_clock() {
    FROZEN.store(true, Ordering::Relaxed);
}

struct FrozenClock {
    reactor: Reactor,
    now: Instant,
}

impl Driver for FrozenClock {
    fn now(&self) -> Instant {
        self.now
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}

fn done<T>(outcome: Outcome<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

common_programs! {
    (),
    spawn: |future| spawn(future),
    join: |task| done(task.await),
    join_all: |tasks| await_all(tasks).await.into_iter().for_each(done),
    yield_now: yield_now(),
    sleep: sleep,
    sleep_until: |due| sleep_until(due),
    discard: |tasks| for task in tasks {
        task.cancel().await;
    },
}

lock_programs! {
    (),
    spawn: |future| spawn(future),
    join_all: |tasks| await_all(tasks).await.into_iter().for_each(done),
}

async fn cancel_fan(n: u64) -> Cost {
    let promises: Vec<_> = (0..n).map(|_| spawn(idle())).collect();
    yield_now().await;
    let meter = Meter::start();
    let cancelled: Vec<_> = promises.into_iter().map(|promise| promise.cancel()).collect();
    for cancelled in cancelled {
        cancelled.await;
    }
    meter.stop(n)
}

async fn chain(depth: u64) {
    if depth == 0 {
        return std::future::pending().await;
    }
    done(spawn(Box::pin(chain(depth - 1))).await);
}

async fn cancel_chain(n: u64) -> Cost {
    let promise = spawn(chain(n - 1));
    // Each yield lets the next task of the chain start.
    for _ in 0..n + 10 {
        yield_now().await;
    }
    let meter = Meter::start();
    promise.cancel().await;
    meter.stop(n)
}

async fn own(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        let owned = Owned::new(number, |number| {
            black_box(number);
        });
        check(&owned).expect("this task owns it");
        drop(owned);
    }
    meter.stop(n)
}

async fn check_many(n: u64) -> Cost {
    let others: Vec<_> = (0..1000).map(|number| Owned::new(number, drop)).collect();
    let owned = Owned::new(0, drop);
    let meter = Meter::start();
    for _ in 0..n {
        check(black_box(&owned)).expect("this task owns it");
    }
    let cost = meter.stop(n);
    drop(others);
    cost
}
