use std::future::Future;
use std::mem::forget;

use futures_lite::future::yield_now;
use monoio::time::{sleep, sleep_until};
use monoio::{FusionDriver, RuntimeBuilder, spawn};

use super::{Row, common_programs};
use crate::cost::{Cost, Meter};

const NAME: &str = "monoio";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |n| on(spawn_one(n))),
    (NAME, "spawn-1000", |n| on(spawn_many(n, 1000))),
    (NAME, "spawn-100000", |n| on(spawn_many(n, 100_000))),
    (NAME, "yield-2", |n| on(yields(n, 2))),
    (NAME, "yield-1000", |n| on(yields(n, 1000))),
    (NAME, "timer", |n| on(timer(n))),
    (NAME, "timer-million", |n| on(timers(n))),
    (NAME, "sleepers", |n| on(sleepers(n))),
    (NAME, "memory", |n| on(memory(n))),
];

fn on(main: impl Future<Output = Cost>) -> Cost {
    let runtime = RuntimeBuilder::<FusionDriver>::new().enable_timer().build();
    runtime.expect("a runtime").block_on(main)
}

common_programs! {
    (),
    spawn: |future| spawn(future),
    join: |task| task.await,
    join_all: |tasks| for task in tasks {
        task.await;
    },
    yield_now: yield_now(),
    sleep: sleep,
    sleep_until: |due| sleep_until(due.into()),
    discard: |tasks| forget(tasks),
}
