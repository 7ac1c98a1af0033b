//! Operations between domains, and the same operations on one domain.

use std::hint::black_box;
use std::sync::Arc;

use matou_ownership::{Owned, transfer};
use matou_runtime::{Promise, Task, call, spawn, yield_now};
use matou_sync::{Condition, Mutex, Queue};

use super::{NAME, Row, done, on};
use crate::cost::{Cost, Meter};

pub(crate) const PROGRAMS: &[Row] = &[
    (NAME, "call", |n| on(2, call_one(n))),
    (NAME, "call-busy", |n| on(2, call_busy(n))),
    (NAME, "call-1000", |n| on(2, call_many(n))),
    (NAME, "give", |n| on(2, give(n, 1))),
    (NAME, "give-1000", |n| on(2, give(n, 1000))),
    (NAME, "wake", |n| on(1, wake(n))),
    (NAME, "notify-2", |n| on(2, notify(n, true))),
    (NAME, "lock-domains", |n| on(2, lock(n))),
    (NAME, "queue-2", |n| on(2, queue(n, true))),
];

/// A child on the other domain.
fn there<M, F>(make: M) -> Promise<F::Output>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    call(make).expect("there is another domain")
}

async fn call_one(n: u64) -> Cost {
    let meter = Meter::start();
    for number in 0..n {
        black_box(done(there(move || async move { number }).await));
    }
    meter.stop(n)
}

async fn call_busy(n: u64) -> Cost {
    let busy = there(|| async {
        loop {
            yield_now().await;
        }
    });
    let cost = call_one(n).await;
    drop(busy.cancel().await);
    cost
}

async fn call_many(n: u64) -> Cost {
    let meter = Meter::start();
    for _ in 0..n / 1000 {
        let make = |number| there(move || async move { number });
        let promises: Vec<_> = (0..1000_u64).map(make).collect();
        for promise in promises {
            black_box(done(promise.await));
        }
    }
    meter.stop(n)
}

/// Each resource is given to a child there, which transfers it back.
async fn give(n: u64, at_a_time: u64) -> Cost {
    let own = |number| Arc::new(Owned::new(number, drop));
    let resources: Vec<Arc<Owned<u64>>> = (0..at_a_time).map(own).collect();
    let meter = Meter::start();
    for _ in 0..n / at_a_time {
        let give = |resource: &Arc<Owned<u64>>| {
            let lent = Arc::clone(resource);
            let child = Task::new().give(resource).call(move || async move { transfer(&lent) });
            child.expect("there is another domain")
        };
        let promises: Vec<_> = resources.iter().map(give).collect();
        for promise in promises {
            done(promise.await).expect("the child owned it");
        }
    }
    meter.stop(n)
}

async fn wake(n: u64) -> Cost {
    crate::primitives::wake_from_a_thread(n).await
}

/// Whose turn it is in a ping-pong.
#[derive(Default)]
struct Table {
    turn: Mutex<bool>,
    mine: Condition,
    yours: Condition,
}

async fn play(table: Arc<Table>, n: u64, me: bool) {
    let (mine, yours) = if me { (&table.mine, &table.yours) } else { (&table.yours, &table.mine) };
    for _ in 0..n {
        let turn = table.turn.lock().await;
        let mut turn = mine.wait_while(turn, |turn| *turn != me).await;
        *turn = !me;
        drop(turn);
        yours.signal();
    }
}

pub(super) async fn notify(n: u64, across: bool) -> Cost {
    let table = Arc::<Table>::default();
    let meter = Meter::start();
    let other = Arc::clone(&table);
    let other = match across {
        true => there(move || play(other, n / 2, true)),
        false => spawn(play(other, n / 2, true)),
    };
    play(table, n / 2, false).await;
    done(other.await);
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
    let other = Arc::clone(&sum);
    let other = there(move || add(other, n / 2));
    add(Arc::clone(&sum), n / 2).await;
    done(other.await);
    let cost = meter.stop(n);
    assert_eq!(*sum.lock().await, n);
    cost
}

pub(super) async fn queue(n: u64, across: bool) -> Cost {
    async fn push(queue: Arc<Queue<u64>>, n: u64) {
        for number in 0..n {
            queue.push(number).await.expect("it is open");
        }
    }
    let queue = Arc::new(Queue::bounded(64));
    let meter = Meter::start();
    let other = Arc::clone(&queue);
    let other = match across {
        true => there(move || push(other, n)),
        false => spawn(push(other, n)),
    };
    for number in 0..n {
        assert_eq!(queue.pop().await, Ok(number));
    }
    done(other.await);
    meter.stop(n)
}
