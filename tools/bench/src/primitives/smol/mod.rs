mod across;
mod sync;

use std::cell::Cell;
use std::future::Future;
use std::mem::forget;
use std::rc::Rc;

use async_executor::LocalExecutor;
use async_io::Timer;
use async_lock::Mutex;
use event_listener::Event;
use futures::channel::oneshot;
use futures_lite::future::{block_on, yield_now};

use super::{Row, common_programs, idle, lock_programs};
use crate::cost::{Cost, Meter};

pub(super) use across::PROGRAMS as ACROSS;
pub(super) use sync::PROGRAMS as SYNC;

const NAME: &str = "smol";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |n| on(|executor| spawn_one(executor, n))),
    (NAME, "spawn-1000", |n| on(|executor| spawn_many(executor, n, 1000))),
    (NAME, "spawn-100000", |n| on(|executor| spawn_many(executor, n, 100_000))),
    (NAME, "yield-2", |n| on(|executor| yields(executor, n, 2))),
    (NAME, "yield-1000", |n| on(|executor| yields(executor, n, 1000))),
    (NAME, "lock", |n| block_on(lock(n))),
    (NAME, "lock-2", |n| on(|executor| contend(executor, n, 2))),
    (NAME, "lock-64", |n| on(|executor| contend(executor, n, 64))),
    (NAME, "notify", |n| on(|executor| notify(executor, n))),
    (NAME, "queue", |n| on(|executor| queue(executor, n))),
    (NAME, "timer", |n| block_on(timer(n))),
    (NAME, "timer-million", |n| block_on(timers(n))),
    (NAME, "sleepers", |n| on(|executor| sleepers(executor, n))),
    (NAME, "cancel-fan", |n| on(|executor| cancel_fan(executor, n))),
    (NAME, "cancel-chain", |n| on(|executor| cancel_chain(executor, n))),
    (NAME, "memory", |n| on(|executor| memory(executor, n))),
];

type Shared = Rc<LocalExecutor<'static>>;

/// The executor of one thread, with the reactor of `async-io`. The main
/// future is a task like the others.
fn on<F: Future<Output = Cost> + 'static>(main: impl FnOnce(Shared) -> F) -> Cost {
    let executor = Rc::new(LocalExecutor::new());
    let main = executor.spawn(main(Rc::clone(&executor)));
    async_io::block_on(executor.run(main))
}

common_programs! {
    (executor: Shared),
    spawn: |future| executor.spawn(future),
    join: |task| task.await,
    join_all: |tasks| for task in tasks {
        task.await;
    },
    yield_now: yield_now(),
    sleep: Timer::after,
    sleep_until: |due| Timer::at(due),
    discard: |tasks| forget(tasks),
}

lock_programs! {
    (executor: Shared),
    spawn: |future| executor.spawn(future),
    join_all: |tasks| for task in tasks {
        task.await;
    },
}

/// Whose turn it is in a ping-pong.
#[derive(Default)]
struct Table {
    turn: Cell<bool>,
    mine: Event,
    yours: Event,
}

async fn play(table: Rc<Table>, n: u64, me: bool) {
    let (mine, yours) = if me { (&table.mine, &table.yours) } else { (&table.yours, &table.mine) };
    for _ in 0..n {
        while table.turn.get() != me {
            mine.listen().await;
        }
        table.turn.set(!me);
        yours.notify(1);
    }
}

async fn notify(executor: Shared, n: u64) -> Cost {
    let table = Rc::<Table>::default();
    let meter = Meter::start();
    let other = executor.spawn(play(Rc::clone(&table), n / 2, true));
    play(table, n / 2, false).await;
    other.await;
    meter.stop(n)
}

async fn queue(executor: Shared, n: u64) -> Cost {
    let (sender, receiver) = async_channel::bounded(64);
    let meter = Meter::start();
    let other = executor.spawn(async move {
        for number in 0..n {
            sender.send(number).await.expect("it is open");
        }
    });
    for number in 0..n {
        assert_eq!(receiver.recv().await, Ok(number));
    }
    other.await;
    meter.stop(n)
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

/// Drops, and thereby cancels, its child when it is dropped.
async fn chain(
    executor: Shared,
    depth: u64,
    begun: oneshot::Sender<()>,
    over: oneshot::Sender<()>,
) {
    if depth == 0 {
        let _ = begun.send(());
        std::future::pending::<()>().await;
        return drop(over);
    }
    let next: std::pin::Pin<Box<dyn Future<Output = ()>>> =
        Box::pin(chain(Rc::clone(&executor), depth - 1, begun, over));
    executor.spawn(next).await;
}

/// A task that is dropped is cancelled. All are dropped once the last one is.
async fn cancel_chain(executor: Shared, n: u64) -> Cost {
    let ((begun, has_begun), (over, is_over)) = (oneshot::channel(), oneshot::channel());
    let first = executor.spawn(chain(Rc::clone(&executor), n - 1, begun, over));
    has_begun.await.expect("the last one begins");
    let meter = Meter::start();
    first.cancel().await;
    assert!(is_over.await.is_err());
    meter.stop(n)
}
