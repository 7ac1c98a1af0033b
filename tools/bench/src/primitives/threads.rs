//! Threads, and locks that belong to no runtime.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};

use futures_lite::future::block_on;

use super::Row;
use crate::cost::{Cost, Meter};

pub(super) const PROGRAMS: &[Row] = &[
    ("std", "lock", |n| add_alone(n, &StdLock::default())),
    ("parking_lot", "lock", |n| add_alone(n, &ParkingLot::default())),
    ("futures", "lock", |n| block_on(add_async(n))),
    ("threads", "notify-2", notify),
    ("std", "lock-domains", |n| add_both::<StdLock>(n)),
    ("parking_lot", "lock-domains", |n| add_both::<ParkingLot>(n)),
    ("futures", "lock-domains", add_both_async),
    ("threads", "queue-2", queue),
];

type StdLock = Mutex<u64>;
type ParkingLot = parking_lot::Mutex<u64>;

/// A sum protected by a lock.
trait Sum: Default + Send + Sync + 'static {
    fn add(&self);
}

impl Sum for StdLock {
    #[inline]
    fn add(&self) {
        *self.lock().expect("no panic") += 1;
    }
}

impl Sum for ParkingLot {
    #[inline]
    fn add(&self) {
        *self.lock() += 1;
    }
}

fn add_alone(n: u64, sum: &impl Sum) -> Cost {
    let meter = Meter::start();
    (0..n).for_each(|_| sum.add());
    meter.stop(n)
}

fn add_both<S: Sum>(n: u64) -> Cost {
    let sum = Arc::<S>::default();
    let other = Arc::clone(&sum);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || (0..n / 2).for_each(|_| other.add()));
    (0..n / 2).for_each(|_| sum.add());
    thread.join().expect("it does not panic");
    meter.stop(n)
}

async fn add_async(n: u64) -> Cost {
    let sum = futures::lock::Mutex::new(0_u64);
    let meter = Meter::start();
    for _ in 0..n {
        *sum.lock().await += 1;
    }
    meter.stop(n)
}

fn add_both_async(n: u64) -> Cost {
    async fn add(sum: Arc<futures::lock::Mutex<u64>>, n: u64) {
        for _ in 0..n {
            *sum.lock().await += 1;
        }
    }
    let sum = Arc::<futures::lock::Mutex<u64>>::default();
    let other = Arc::clone(&sum);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || block_on(add(other, n / 2)));
    block_on(add(sum, n / 2));
    thread.join().expect("it does not panic");
    meter.stop(n)
}

/// Whose turn it is in a ping-pong.
#[derive(Default)]
struct Table {
    turn: Mutex<bool>,
    moved: Condvar,
}

fn play(table: &Table, n: u64, me: bool) {
    for _ in 0..n {
        let turn = table.turn.lock().expect("no panic");
        let mut turn = table.moved.wait_while(turn, |turn| *turn != me).expect("no panic");
        *turn = !me;
        drop(turn);
        table.moved.notify_one();
    }
}

fn notify(n: u64) -> Cost {
    let table = Arc::<Table>::default();
    let other = Arc::clone(&table);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || play(&other, n / 2, true));
    play(&table, n / 2, false);
    thread.join().expect("it does not panic");
    meter.stop(n)
}

fn queue(n: u64) -> Cost {
    let (sender, receiver) = sync_channel(64);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || {
        (0..n).for_each(|number| sender.send(number).expect("it is open"));
    });
    for number in 0..n {
        assert_eq!(receiver.recv(), Ok(number));
    }
    thread.join().expect("it does not panic");
    meter.stop(n)
}
