mod across;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn, spawn_local, yield_now};

use super::{NAP, Row, idle, lateness, since};
use crate::meter::{Cost, Meter, Scales};

pub(super) use across::PROGRAMS as ACROSS;

/// One thread, tasks that need not be `Send` are not used: `spawn` is its fast path.
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

async fn timers(n: u64) -> Cost {
    super::set_and_drop(n, || tokio::time::sleep(Duration::from_secs(1000)))
}

async fn sleepers(n: u64) -> Cost {
    let late = Arc::new(StdMutex::new(Vec::with_capacity(n as usize)));
    let meter = Meter::start();
    let sleeper = move |late: Arc<StdMutex<Vec<Duration>>>| async move {
        let due = Instant::now() + NAP;
        tokio::time::sleep_until(due.into()).await;
        late.lock().expect("nobody panics").push(since(due));
    };
    let mut tasks = Vec::with_capacity(n as usize);
    for number in 0..n {
        if number.is_multiple_of(super::NEW_SLEEPERS) {
            yield_now().await;
        }
        tasks.push(spawn(sleeper(Arc::clone(&late))));
    }
    for task in tasks {
        task.await.expect("it ends well");
    }
    let cost = meter.stop(n);
    let late = std::mem::take(&mut *late.lock().expect("nobody panics"));
    Cost { p99_us: lateness(late), ..cost }
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

/// A task that ends its child when it is dropped.
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

/// What comes nearest to it: each aborts the next when it is dropped. That all are dropped is known
/// when the last one is.
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

async fn memory(n: u64) -> Cost {
    let mut tasks = Vec::with_capacity(n as usize);
    let meter = Scales::start();
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
