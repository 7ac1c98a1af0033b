//! The primitives of `async-lock`.

use std::hint::black_box;
use std::rc::Rc;

use async_lock::{Barrier, OnceCell, RwLock, Semaphore};
use futures_lite::future::block_on;

use super::{NAME, Row, Shared, on};
use crate::cost::{Cost, Meter};
use crate::primitives::common::sync_programs;

pub(crate) const PROGRAMS: &[Row] = &[
    (NAME, "semaphore", |n| block_on(semaphore(n))),
    (NAME, "read", |n| block_on(read(n))),
    (NAME, "write", |n| block_on(write(n))),
    (NAME, "once-cell", |n| block_on(once_cell(n))),
    (NAME, "barrier", |n| on(|executor| barrier(executor, n))),
];

sync_programs! {
    acquire: |semaphore| semaphore.acquire().await,
    get_or_init: |cell| cell.get_or_init(|| async { 1 }).await,
}

async fn barrier(executor: Shared, n: u64) -> Cost {
    async fn meet(barrier: Rc<Barrier>, n: u64) {
        for _ in 0..n {
            barrier.wait().await;
        }
    }
    let barrier = Rc::new(Barrier::new(2));
    let meter = Meter::start();
    let other = executor.spawn(meet(Rc::clone(&barrier), n));
    meet(barrier, n).await;
    other.await;
    meter.stop(n)
}
