//! The primitives of `matou-sync`, and blocking jobs.

use std::hint::black_box;
use std::rc::Rc;

use matou_runtime::{blocking, spawn};
use matou_sync::{Barrier, Computation, OnceCell, RwLock, Semaphore, Trigger};

use super::{NAME, Row, done, on};
use crate::cost::{Cost, Meter};
use crate::primitives::common::sync_programs;

pub(crate) const PROGRAMS: &[Row] = &[
    (NAME, "semaphore", |n| on(1, semaphore(n))),
    (NAME, "read", |n| on(1, read(n))),
    (NAME, "write", |n| on(1, write(n))),
    (NAME, "once-cell", |n| on(1, once_cell(n))),
    (NAME, "oneshot", |n| on(1, oneshot(n))),
    (NAME, "trigger", |n| on(1, trigger(n))),
    (NAME, "barrier", |n| on(1, barrier(n))),
    (NAME, "blocking", |n| on(1, block(n))),
];

sync_programs! {
    acquire: |semaphore| semaphore.acquire().await.expect("it is open"),
    get_or_init: |cell| cell.get_or_init(|| async { 1 }).await,
}

async fn oneshot(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        let (completer, computation) = Computation::create();
        completer.try_return(number).expect("it runs");
        black_box(computation.await.expect("it has a value"));
    }
    meter.stop(n)
}

async fn trigger(n: u64) -> Cost {
    let trigger = Trigger::counted(1);
    let meter = Meter::start();
    for _ in 0..n {
        trigger.signal();
        trigger.wait().await;
    }
    meter.stop(n)
}

async fn barrier(n: u64) -> Cost {
    async fn meet(barrier: Rc<Barrier>, n: u64) {
        for _ in 0..n {
            barrier.wait().await;
        }
    }
    let barrier = Rc::new(Barrier::new(2));
    let meter = Meter::start();
    let other = spawn(meet(Rc::clone(&barrier), n));
    meet(barrier, n).await;
    done(other.await);
    meter.stop(n)
}

async fn block(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        black_box(done(blocking(move |_| number).await));
    }
    meter.stop(n)
}
