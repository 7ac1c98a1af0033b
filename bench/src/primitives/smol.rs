use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use async_executor::{Executor, LocalExecutor};
use async_io::Timer;
use async_lock::Mutex;
use futures_lite::future::{block_on, yield_now};

use super::{NAP, Row, idle, lateness, since};
use crate::meter::{Cost, Meter};

const NAME: &str = "smol";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |n| on(|executor| spawn_one(executor, n))),
    (NAME, "spawn-1000", |n| on(|executor| spawn_many(executor, n, 1000))),
    (NAME, "spawn-100000", |n| on(|executor| spawn_many(executor, n, 100_000))),
    (NAME, "yield-2", |n| on(|executor| yields(executor, n, 2))),
    (NAME, "yield-1000", |n| on(|executor| yields(executor, n, 1000))),
    (NAME, "call", |n| elsewhere(n, 1)),
    (NAME, "call-1000", |n| elsewhere(n, 1000)),
    (NAME, "wake", |n| async_io::block_on(super::tokio::wake_from_a_thread(n))),
    (NAME, "lock", |n| block_on(lock(n))),
    (NAME, "lock-2", |n| on(|executor| contend(executor, n, 2))),
    (NAME, "lock-64", |n| on(|executor| contend(executor, n, 64))),
    (NAME, "timer", |n| block_on(timer(n))),
    (NAME, "sleepers", |n| on(|executor| sleepers(executor, n))),
    (NAME, "cancel-fan", |n| on(|executor| cancel_fan(executor, n))),
    (NAME, "memory", |n| on(|executor| memory(executor, n))),
];

type Shared = Rc<LocalExecutor<'static>>;

/// The executor of one thread, with the reactor of `async-io`. Main is a task like the others.
fn on<F: Future<Output = Cost> + 'static>(main: impl FnOnce(Shared) -> F) -> Cost {
    let executor = Rc::new(LocalExecutor::new());
    let main = executor.spawn(main(Rc::clone(&executor)));
    async_io::block_on(executor.run(main))
}

/// An executor that runs on another thread.
fn elsewhere(n: u64, at_a_time: u64) -> Cost {
    let executor = Arc::new(Executor::new());
    let (stop, stopped) = async_channel();
    let worker = Arc::clone(&executor);
    let thread = std::thread::spawn(move || async_io::block_on(worker.run(stopped)));
    let meter = Meter::start();
    for _ in 0..n / at_a_time {
        let spawn = |number| executor.spawn(async move { number });
        let tasks: Vec<_> = (0..at_a_time).map(spawn).collect();
        for task in tasks {
            black_box(block_on(task));
        }
    }
    let cost = meter.stop(n / at_a_time * at_a_time);
    drop(stop);
    let _ = thread.join();
    cost
}

fn async_channel() -> (futures::channel::oneshot::Sender<()>, impl Future<Output = ()>) {
    let (stop, stopped) = futures::channel::oneshot::channel::<()>();
    (stop, async {
        let _ = stopped.await;
    })
}

async fn spawn_one(executor: Shared, n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        black_box(executor.spawn(async move { number }).await);
    }
    meter.stop(n)
}

async fn spawn_many(executor: Shared, n: u64, at_a_time: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n / at_a_time {
        let spawn = |number| executor.spawn(async move { number });
        let tasks: Vec<_> = (0..at_a_time).map(spawn).collect();
        for task in tasks {
            black_box(task.await);
        }
    }
    meter.stop(n / at_a_time * at_a_time)
}

async fn yields(executor: Shared, n: u64, tasks: u64) -> Cost {
    let meter = Meter::start();
    let task = move || async move {
        for _ in 0..n / tasks {
            yield_now().await;
        }
    };
    let tasks_made: Vec<_> = (0..tasks).map(|_| executor.spawn(task())).collect();
    for task in tasks_made {
        task.await;
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

async fn contend(executor: Shared, n: u64, tasks: u64) -> Cost {
    let mutex = Rc::new(Mutex::new(0_u64));
    let meter = Meter::start();
    let task = move |mutex: Rc<Mutex<u64>>| async move {
        for _ in 0..n / tasks {
            let mut guard = mutex.lock().await;
            *guard += 1;
            yield_now().await;
        }
    };
    let tasks_made: Vec<_> = (0..tasks).map(|_| executor.spawn(task(Rc::clone(&mutex)))).collect();
    for task in tasks_made {
        task.await;
    }
    meter.stop(n / tasks * tasks)
}

async fn timer(n: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n {
        let mut timer = pin!(Timer::after(Duration::from_secs(1000)));
        assert!(futures::poll!(&mut timer).is_pending());
    }
    meter.stop(n)
}

async fn sleepers(executor: Shared, n: u64) -> Cost {
    let late = Arc::new(StdMutex::new(Vec::with_capacity(n as usize)));
    let meter = Meter::start();
    let sleeper = move |late: Arc<StdMutex<Vec<Duration>>>| async move {
        let due = Instant::now() + NAP;
        Timer::at(due).await;
        late.lock().expect("nobody panics").push(since(due));
    };
    let tasks: Vec<_> = (0..n).map(|_| executor.spawn(sleeper(Arc::clone(&late)))).collect();
    for task in tasks {
        task.await;
    }
    let cost = meter.stop(n);
    let late = std::mem::take(&mut *late.lock().expect("nobody panics"));
    Cost { late_us: lateness(late), ..cost }
}

async fn cancel_fan(executor: Shared, n: u64) -> Cost {
    let tasks: Vec<_> = (0..n).map(|_| executor.spawn(idle())).collect();
    yield_now().await;
    let meter = Meter::start();
    for task in tasks {
        task.cancel().await;
    }
    meter.stop(n)
}

async fn memory(executor: Shared, n: u64) -> Cost {
    let mut tasks = Vec::with_capacity(n as usize);
    let meter = Meter::start();
    tasks.extend((0..n).map(|_| executor.spawn(idle())));
    for _ in 0..2 {
        yield_now().await;
    }
    let cost = meter.stop(n);
    for task in tasks {
        task.cancel().await;
    }
    cost
}
