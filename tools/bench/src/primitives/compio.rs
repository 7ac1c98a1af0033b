use std::cell::RefCell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use compio::runtime::{Runtime, spawn};

use super::{NAP, Row, idle, lateness, since};
use crate::meter::{Cost, Meter, Scales};

const NAME: &str = "compio";

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
    Runtime::new().expect("a runtime").block_on(main)
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
        let spawn = |number| spawn(async move { number });
        let tasks: Vec<_> = (0..at_a_time).map(spawn).collect();
        for task in tasks {
            black_box(task.await.expect("it ends well"));
        }
    }
    meter.stop(n / at_a_time * at_a_time)
}

/// It has no yield of its own.
async fn yields(n: u64, tasks: u64) -> Cost {
    let meter = Meter::start();
    let task = move || async move {
        for _ in 0..n / tasks {
            futures_lite::future::yield_now().await;
        }
    };
    let tasks_made: Vec<_> = (0..tasks).map(|_| spawn(task())).collect();
    for task in tasks_made {
        task.await.expect("it ends well");
    }
    meter.stop(n / tasks * tasks)
}

async fn timer(n: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n {
        let mut sleep = pin!(compio::time::sleep(Duration::from_secs(1000)));
        assert!(futures::poll!(&mut sleep).is_pending());
    }
    meter.stop(n)
}

async fn timers(n: u64) -> Cost {
    super::set_and_drop(n, || compio::time::sleep(Duration::from_secs(1000)))
}

async fn sleepers(n: u64) -> Cost {
    let late = Rc::new(RefCell::new(Vec::with_capacity(n as usize)));
    let meter = Meter::start();
    let sleeper = move |late: Rc<RefCell<Vec<Duration>>>| async move {
        let due = Instant::now() + NAP;
        compio::time::sleep_until(due).await;
        late.borrow_mut().push(since(due));
    };
    let mut tasks = Vec::with_capacity(n as usize);
    for number in 0..n {
        if number.is_multiple_of(super::NEW_SLEEPERS) {
            futures_lite::future::yield_now().await;
        }
        tasks.push(spawn(sleeper(Rc::clone(&late))));
    }
    for task in tasks {
        task.await.expect("it ends well");
    }
    let cost = meter.stop(n);
    Cost { p99_us: lateness(late.take()), ..cost }
}

async fn memory(n: u64) -> Cost {
    let mut tasks = Vec::with_capacity(n as usize);
    let scales = Scales::start();
    tasks.extend((0..n).map(|_| spawn(idle())));
    for _ in 0..2 {
        futures_lite::future::yield_now().await;
    }
    let cost = scales.stop(n);
    // Nobody awaits them: the process is about to end.
    std::mem::forget(tasks);
    cost
}
