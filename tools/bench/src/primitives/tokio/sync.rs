//! The primitives of `tokio::sync`, and blocking jobs.

use std::hint::black_box;
use std::sync::Arc;

use tokio::sync::{Barrier, Notify, OnceCell, RwLock, Semaphore};
use tokio::task::{spawn, spawn_blocking};

use super::{ONE, Row, one};
use crate::cost::{Cost, Meter};
use crate::primitives::common::sync_programs;

pub(crate) const PROGRAMS: &[Row] = &[
    (ONE, "semaphore", |n| one(semaphore(n))),
    (ONE, "read", |n| one(read(n))),
    (ONE, "write", |n| one(write(n))),
    (ONE, "once-cell", |n| one(once_cell(n))),
    (ONE, "oneshot", |n| one(oneshot(n))),
    (ONE, "trigger", |n| one(trigger(n))),
    (ONE, "barrier", |n| one(barrier(n))),
    (ONE, "blocking", |n| one(block(n))),
];

sync_programs! {
    acquire: |semaphore| semaphore.acquire().await.expect("it is open"),
    get_or_init: |cell| cell.get_or_init(|| async { 1 }).await,
}

async fn oneshot(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        sender.send(number).expect("it is open");
        black_box(receiver.await.expect("there is a value"));
    }
    meter.stop(n)
}

async fn trigger(n: u64) -> Cost {
    let notify = Notify::new();
    let meter = Meter::start();
    for _ in 0..n {
        notify.notify_one();
        notify.notified().await;
    }
    meter.stop(n)
}

async fn barrier(n: u64) -> Cost {
    async fn meet(barrier: Arc<Barrier>, n: u64) {
        for _ in 0..n {
            barrier.wait().await;
        }
    }
    let barrier = Arc::new(Barrier::new(2));
    let meter = Meter::start();
    let other = spawn(meet(Arc::clone(&barrier), n));
    meet(barrier, n).await;
    other.await.expect("it does not panic");
    meter.stop(n)
}

async fn block(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        black_box(spawn_blocking(move || number).await.expect("it does not panic"));
    }
    meter.stop(n)
}
