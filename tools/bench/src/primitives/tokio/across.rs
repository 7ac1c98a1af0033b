//! Operations between threads.

use std::hint::black_box;
use std::sync::Arc;

use futures_lite::future::block_on;
use tokio::runtime::Builder;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::{spawn, yield_now};

use super::{MANY, ONE, Row, many, one, one_thread, spawn_many};
use crate::cost::{Cost, Meter};

pub(crate) const PROGRAMS: &[Row] = &[
    (MANY, "call", |n| call_one(n, 2, false)),
    (MANY, "call-busy", |n| call_one(n, 1, true)),
    (MANY, "call-1000", |n| many(spawn_many(n, 1000))),
    (ONE, "wake", |n| one(crate::primitives::wake_from_a_thread(n))),
    (ONE, "notify-2", notify),
    (MANY, "lock-domains", |n| many(lock(n))),
    (MANY, "queue-2", |n| many(queue(n))),
];

/// Spawned from outside of the pool, so that the task runs on another thread, which is idle or
/// busy.
fn call_one(n: u64, threads: usize, busy: bool) -> Cost {
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if busy {
        runtime.spawn(async {
            loop {
                yield_now().await;
            }
        });
    }
    let meter = Meter::start();
    for number in 0..n {
        let task = runtime.spawn(async move { number });
        black_box(block_on(task).expect("it does not panic"));
    }
    meter.stop(n)
}

pub(super) async fn play(mine: Arc<Notify>, yours: Arc<Notify>, n: u64) {
    for _ in 0..n {
        mine.notified().await;
        yours.notify_one();
    }
}

/// Each task has a thread and a runtime. Two tasks of one pool would soon run on one thread.
fn notify(n: u64) -> Cost {
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (mine, yours) = (Arc::clone(&ping), Arc::clone(&pong));
    let meter = Meter::start();
    let other = std::thread::spawn(move || one_thread().block_on(play(mine, yours, n / 2)));
    one_thread().block_on(async {
        for _ in 0..n / 2 {
            ping.notify_one();
            pong.notified().await;
        }
    });
    other.join().expect("it does not panic");
    meter.stop(n)
}

async fn lock(n: u64) -> Cost {
    async fn add(sum: Arc<Mutex<u64>>, n: u64) {
        for _ in 0..n {
            *sum.lock().await += 1;
        }
    }
    let sum = Arc::new(Mutex::new(0));
    let meter = Meter::start();
    let other = spawn(add(Arc::clone(&sum), n / 2));
    add(sum, n / 2).await;
    other.await.expect("it does not panic");
    meter.stop(n)
}

pub(super) async fn queue(n: u64) -> Cost {
    let (sender, mut receiver) = mpsc::channel(64);
    let meter = Meter::start();
    let other = spawn(async move {
        for number in 0..n {
            sender.send(number).await.expect("it is open");
        }
    });
    for number in 0..n {
        assert_eq!(receiver.recv().await, Some(number));
    }
    other.await.expect("it does not panic");
    meter.stop(n)
}
