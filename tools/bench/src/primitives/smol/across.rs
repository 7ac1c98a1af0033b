//! Operations between threads.

use std::future::{Future, pending};
use std::hint::black_box;
use std::sync::Arc;

use async_executor::Executor;
use async_lock::Mutex;
use futures_lite::future::{block_on, yield_now};

use super::{NAME, Row};
use crate::cost::{Cost, Meter};

pub(crate) const PROGRAMS: &[Row] = &[
    (NAME, "call", |n| call(n, 1, pending())),
    (NAME, "call-busy", |n| call(n, 1, busy())),
    (NAME, "call-1000", |n| call(n, 1000, pending())),
    (NAME, "wake", |n| async_io::block_on(crate::primitives::wake_from_a_thread(n))),
    (NAME, "lock-domains", lock),
    (NAME, "queue-2", queue),
];

async fn busy() {
    loop {
        yield_now().await;
    }
}

/// An executor on another thread, which runs `there` as well.
fn call(n: u64, at_a_time: u64, there: impl Future<Output = ()> + Send + 'static) -> Cost {
    let executor = Arc::new(Executor::new());
    executor.spawn(there).detach();
    let worker = Arc::clone(&executor);
    // It runs until the process ends.
    std::thread::spawn(move || async_io::block_on(worker.run(pending::<()>())));
    let meter = Meter::start();
    for _ in 0..n / at_a_time {
        let spawn = |number| executor.spawn(async move { number });
        let tasks: Vec<_> = (0..at_a_time).map(spawn).collect();
        for task in tasks {
            black_box(block_on(task));
        }
    }
    meter.stop(n)
}

fn lock(n: u64) -> Cost {
    async fn add(sum: Arc<Mutex<u64>>, n: u64) {
        for _ in 0..n {
            *sum.lock().await += 1;
        }
    }
    let sum = Arc::new(Mutex::new(0));
    let meter = Meter::start();
    let other = Arc::clone(&sum);
    let thread = std::thread::spawn(move || block_on(add(other, n / 2)));
    block_on(add(sum, n / 2));
    thread.join().expect("it does not panic");
    meter.stop(n)
}

fn queue(n: u64) -> Cost {
    let (sender, receiver) = async_channel::bounded(64);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || {
        block_on(async {
            for number in 0..n {
                sender.send(number).await.expect("it is open");
            }
        });
    });
    block_on(async {
        for number in 0..n {
            assert_eq!(receiver.recv().await, Ok(number));
        }
    });
    thread.join().expect("it does not panic");
    meter.stop(n)
}
