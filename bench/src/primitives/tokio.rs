use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify};
use tokio::task::{LocalSet, spawn, spawn_local, yield_now};

use super::{NAP, Row, idle, lateness, since};
use crate::meter::{Cost, Meter};

/// One thread, tasks that need not be `Send` are not used: `spawn` is its fast path.
const ONE: &str = "tokio-ct";
const MANY: &str = "tokio-mt";

pub(super) const PROGRAMS: &[Row] = &[
    (ONE, "spawn", |n| one(spawn_one(n))),
    (ONE, "spawn-1000", |n| one(spawn_many(n, 1000))),
    (ONE, "spawn-100000", |n| one(spawn_many(n, 100_000))),
    (ONE, "yield-2", |n| one(yields(n, 2))),
    (ONE, "yield-1000", |n| one(yields(n, 1000))),
    (MANY, "call", |n| many(call_one(n))),
    (MANY, "call-1000", |n| many(spawn_many(n, 1000))),
    (ONE, "wake", |n| one(wake_from_a_thread(n))),
    (ONE, "lock", |n| one(lock(n))),
    (ONE, "lock-2", |n| one_local(contend(n, 2))),
    (ONE, "lock-64", |n| one_local(contend(n, 64))),
    (ONE, "notify", |n| one(notify(n))),
    (ONE, "timer", |n| one(timer(n))),
    (ONE, "sleepers", |n| one(sleepers(n))),
    (ONE, "cancel-fan", |n| one(cancel_fan(n))),
    (ONE, "memory", |n| one(memory(n))),
];

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Main is a task like the others, not the future of `block_on`, which would look for events each
/// time it waits.
fn one(main: impl Future<Output = Cost> + Send + 'static) -> Cost {
    one_thread().block_on(async { spawn(main).await.expect("it ends well") })
}

fn one_local(main: impl Future<Output = Cost> + 'static) -> Cost {
    LocalSet::new()
        .block_on(&one_thread(), async { spawn_local(main).await.expect("it ends well") })
}

/// Two worker threads; main is a task on one of them.
fn many(main: impl Future<Output = Cost> + Send + 'static) -> Cost {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { spawn(main).await.expect("it ends well") })
}

async fn spawn_one(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        black_box(spawn(async move { number }).await.expect("it ends well"));
    }
    meter.stop(n)
}

/// From outside the pool, so that the task goes to another thread, which sleeps.
async fn call_one(n: u64) -> Cost {
    let handle = tokio::runtime::Handle::current();
    let outside = tokio::task::spawn_blocking(move || {
        let meter = Meter::start();
        for number in 0..n {
            let task = handle.spawn(async move { number });
            black_box(futures_lite::future::block_on(task).expect("it ends well"));
        }
        meter.stop(n)
    });
    outside.await.expect("it ends well")
}

async fn spawn_many(n: u64, at_a_time: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n / at_a_time {
        let tasks: Vec<_> = (0..at_a_time).map(|number| spawn(async move { number })).collect();
        for task in tasks {
            black_box(task.await.expect("it ends well"));
        }
    }
    meter.stop(n / at_a_time * at_a_time)
}

async fn yields(n: u64, tasks: u64) -> Cost {
    let meter = Meter::start();
    let task = move || async move {
        for _ in 0..n / tasks {
            yield_now().await;
        }
    };
    let tasks_made: Vec<_> = (0..tasks).map(|_| spawn(task())).collect();
    for task in tasks_made {
        task.await.expect("it ends well");
    }
    meter.stop(n / tasks * tasks)
}

/// A thread of no runtime wakes the task, and is told when it has run.
pub(super) async fn wake_from_a_thread(n: u64) -> Cost {
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

async fn lock(n: u64) -> Cost {
    let mutex = Mutex::new(0_u64);
    let meter = Meter::start();
    for _ in 0..n {
        *mutex.lock().await += 1;
    }
    meter.stop(n)
}

async fn contend(n: u64, tasks: u64) -> Cost {
    let mutex = Rc::new(Mutex::new(0_u64));
    let meter = Meter::start();
    let task = move |mutex: Rc<Mutex<u64>>| async move {
        for _ in 0..n / tasks {
            let mut guard = mutex.lock().await;
            *guard += 1;
            yield_now().await;
        }
    };
    let tasks_made: Vec<_> = (0..tasks).map(|_| spawn_local(task(Rc::clone(&mutex)))).collect();
    for task in tasks_made {
        task.await.expect("it ends well");
    }
    meter.stop(n / tasks * tasks)
}

async fn play(mine: Arc<Notify>, yours: Arc<Notify>, n: u64) {
    for _ in 0..n {
        mine.notified().await;
        yours.notify_one();
    }
}

async fn notify(n: u64) -> Cost {
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let meter = Meter::start();
    let other = spawn(play(Arc::clone(&ping), Arc::clone(&pong), n / 2));
    ping.notify_one();
    for _ in 0..n / 2 - 1 {
        pong.notified().await;
        ping.notify_one();
    }
    pong.notified().await;
    other.await.expect("it ends well");
    meter.stop(n)
}

async fn timer(n: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n {
        let mut sleep = pin!(tokio::time::sleep(Duration::from_secs(1000)));
        assert!(futures::poll!(&mut sleep).is_pending());
    }
    meter.stop(n)
}

async fn sleepers(n: u64) -> Cost {
    let late = Arc::new(StdMutex::new(Vec::with_capacity(n as usize)));
    let meter = Meter::start();
    let sleeper = move |late: Arc<StdMutex<Vec<Duration>>>| async move {
        let due = Instant::now() + NAP;
        tokio::time::sleep_until(due.into()).await;
        late.lock().expect("nobody panics").push(since(due));
    };
    let tasks: Vec<_> = (0..n).map(|_| spawn(sleeper(Arc::clone(&late)))).collect();
    for task in tasks {
        task.await.expect("it ends well");
    }
    let cost = meter.stop(n);
    let late = std::mem::take(&mut *late.lock().expect("nobody panics"));
    Cost { late_us: lateness(late), ..cost }
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

async fn memory(n: u64) -> Cost {
    let mut tasks = Vec::with_capacity(n as usize);
    let meter = Meter::start();
    tasks.extend((0..n).map(|_| spawn(idle())));
    for _ in 0..2 {
        yield_now().await;
    }
    let cost = meter.stop(n);
    for task in tasks {
        task.abort();
    }
    cost
}
