mod across;
mod sync;

use std::future::Future;
use std::mem::forget;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn, spawn_local, yield_now};
use tokio::time::{sleep, sleep_until};

use super::{Row, common_programs, idle, lock_programs};
use crate::cost::{Cost, Meter};

pub(super) use across::PROGRAMS as ACROSS;
pub(super) use sync::PROGRAMS as SYNC;

/// On one thread. The tasks are `Send`, since `spawn` is faster than `spawn_local`.
const ONE: &str = "tokio-ct";
const MANY: &str = "tokio-mt";

pub(super) const PROGRAMS: &[Row] = &[
    (ONE, "spawn", |n| one(spawn_one(n))),
    (ONE, "spawn-1000", |n| one(spawn_many(n, 1000))),
    (ONE, "spawn-100000", |n| one(spawn_many(n, 100_000))),
    (ONE, "yield-2", |n| one(yields(n, 2))),
    (ONE, "yield-1000", |n| one(yields(n, 1000))),
    (MANY, "spawn", |n| many(spawn_one(n))),
    (MANY, "spawn-1000", |n| many(spawn_many(n, 1000))),
    (MANY, "yield-2", |n| many(yields(n, 2))),
    (MANY, "yield-1000", |n| many(yields(n, 1000))),
    (ONE, "lock", |n| one(lock(n))),
    (ONE, "lock-2", |n| one_local(contend(n, 2))),
    (ONE, "lock-64", |n| one_local(contend(n, 64))),
    (ONE, "notify", |n| one(notify(n))),
    (ONE, "queue", |n| one(across::queue(n))),
    (ONE, "timer", |n| one(timer(n))),
    (ONE, "timer-million", |n| one(timers(n))),
    (ONE, "sleepers", |n| one(sleepers(n))),
    (ONE, "cancel-fan", |n| one(cancel_fan(n))),
    (ONE, "cancel-chain", |n| one(cancel_chain(n))),
    (ONE, "memory", |n| one(memory(n))),
];

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The main future is a task like the others, not the future of `block_on`, which would poll for
/// events each time it waits.
fn one(main: impl Future<Output = Cost> + Send + 'static) -> Cost {
    one_thread().block_on(async { spawn(main).await.expect("it does not panic") })
}

fn one_local(main: impl Future<Output = Cost> + 'static) -> Cost {
    LocalSet::new()
        .block_on(&one_thread(), async { spawn_local(main).await.expect("it does not panic") })
}

/// Two worker threads; the main future is a task on one of them.
fn many(main: impl Future<Output = Cost> + Send + 'static) -> Cost {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { spawn(main).await.expect("it does not panic") })
}

common_programs! {
    (),
    spawn: |future| spawn(future),
    join: |task| task.await.expect("the task does not panic"),
    join_all: |tasks| for task in tasks {
        task.await.expect("the task does not panic");
    },
    yield_now: yield_now(),
    sleep: sleep,
    sleep_until: |due| sleep_until(due.into()),
    discard: |tasks| forget(tasks),
}

lock_programs! {
    (),
    spawn: |future| spawn_local(future),
    join_all: |tasks| for task in tasks {
        task.await.expect("the task does not panic");
    },
}

async fn notify(n: u64) -> Cost {
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let meter = Meter::start();
    let other = spawn(across::play(Arc::clone(&ping), Arc::clone(&pong), n / 2));
    ping.notify_one();
    for _ in 0..n / 2 - 1 {
        pong.notified().await;
        ping.notify_one();
    }
    pong.notified().await;
    other.await.expect("it does not panic");
    meter.stop(n)
}

async fn cancel_fan(n: u64) -> Cost {
    let tasks: Vec<_> = (0..n).map(|_| spawn(idle())).collect();
    yield_now().await;
    let meter = Meter::start();
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        assert!(task.await.is_err());
    }
    meter.stop(n)
}

/// Aborts a task when it is dropped.
struct Child(JoinHandle<()>);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn chain(depth: u64, begun: oneshot::Sender<()>, over: oneshot::Sender<()>) -> Boxed {
    Box::pin(async move {
        if depth == 0 {
            let _ = begun.send(());
            std::future::pending::<()>().await;
            return drop(over);
        }
        let mut child = Child(spawn(chain(depth - 1, begun, over)));
        let _ = (&mut child.0).await;
    })
}

/// The closest equivalent: each task aborts the next when it is dropped. All are dropped once the
/// last one is.
async fn cancel_chain(n: u64) -> Cost {
    let ((begun, has_begun), (over, is_over)) = (oneshot::channel(), oneshot::channel());
    let first = spawn(chain(n - 1, begun, over));
    has_begun.await.expect("the last one begins");
    let meter = Meter::start();
    first.abort();
    assert!(first.await.is_err());
    assert!(is_over.await.is_err());
    meter.stop(n)
}
