//! The mutex admits one holder at a time, and each task that waits gets the lock.

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{Mutex, MutexGuard};

use crate::support::loom::{OwnedFuture, explore, poll_once};

/// A number whose accesses loom checks for data races.
struct Tracked(UnsafeCell<usize>);

impl Tracked {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add_one(&mut self) -> usize {
        // SAFETY: `self` is borrowed exclusively.
        self.0.with_mut(|number| unsafe {
            *number += 1;
            *number
        })
    }
}

fn lock_and_add(mutex: &Mutex<Tracked>) {
    block_on(mutex.lock()).add_one();
}

fn owned_lock(mutex: &Arc<Mutex<Tracked>>) -> OwnedFuture<()> {
    let mutex = mutex.clone();
    Box::pin(async move {
        mutex.lock().await.add_one();
    })
}

/// Unlocks, which notifies a waiter, and locks again before the waiter is polled.
fn overtake<'a>(
    mutex: &'a Mutex<Tracked>,
    guard: MutexGuard<'a, Tracked>,
    waiter: &mut OwnedFuture<()>,
) -> MutexGuard<'a, Tracked> {
    drop(guard);
    let guard = mutex.try_lock().unwrap();
    assert!(poll_once(waiter).is_pending());
    guard
}

#[test]
fn m1_two_threads_exclude_each_other_and_both_get_the_lock() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let other = thread::spawn({
            let mutex = mutex.clone();
            move || lock_and_add(&mutex)
        });
        lock_and_add(&mutex);
        other.join().unwrap();
        assert_eq!(block_on(mutex.lock()).add_one(), 3);
        assert_eq!(mutex.waiters(), 0);
    });
}

#[test]
fn m1_three_threads_exclude_each_other_and_all_get_the_lock() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let others = [(); 2].map(|()| {
            let mutex = mutex.clone();
            thread::spawn(move || lock_and_add(&mutex))
        });
        lock_and_add(&mutex);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(block_on(mutex.lock()).add_one(), 4);
    });
}

#[test]
fn m2_m3_a_waiting_lock_that_is_dropped_passes_its_notification_on() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let guard = mutex.try_lock().unwrap();
        let mut first = owned_lock(&mutex);
        assert!(poll_once(&mut first).is_pending());

        let second = thread::spawn({
            let mutex = mutex.clone();
            move || lock_and_add(&mutex)
        });
        let dropping = thread::spawn(move || drop(first));
        drop(guard);

        dropping.join().unwrap();
        second.join().unwrap();
        assert_eq!(mutex.waiters(), 0);
        assert!(mutex.try_lock().is_some());
    });
}

/// A future that locks in its first poll. In its second poll it unlocks, and once more tries to
/// lock.
fn holder(mutex: &Arc<Mutex<Tracked>>) -> OwnedFuture<()> {
    let mutex = mutex.clone();
    Box::pin(async move {
        let guard = mutex.try_lock().unwrap();
        futures::pending!();
        drop(guard);
        drop(mutex.try_lock());
    })
}

/// Two waiters lose their second race, and so become starved, at about the same time. If neither
/// listens while the mutex is unlocked for the last time, each finds the other one starved and may
/// not lock: one of them must be notified.
#[test]
fn m5_two_waiters_that_become_starved_both_get_the_lock() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let mut guard = mutex.try_lock().unwrap();
        let mut first = owned_lock(&mutex);
        let mut second = owned_lock(&mutex);
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut second).is_pending());
        guard = overtake(&mutex, guard, &mut first);
        guard = overtake(&mutex, guard, &mut second);
        drop(guard);
        // The first was notified again. Each is polled once while the holder unlocks.
        let mut holder = holder(&mutex);
        assert!(poll_once(&mut holder).is_pending());
        let unlocking = thread::spawn(move || poll_once(&mut holder).is_ready());
        let polling = thread::spawn(move || poll_once(&mut second).is_pending().then_some(second));
        let first = poll_once(&mut first).is_pending().then_some(first);
        assert!(unlocking.join().unwrap());
        let second = polling.join().unwrap();
        block_on(futures::future::join_all(first.into_iter().chain(second)));
        assert_eq!(mutex.waiters(), 0);
        assert!(mutex.try_lock().is_some());
    });
}

#[test]
fn m3_a_starved_lock_that_is_dropped_no_longer_holds_newcomers_back() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let mut guard = mutex.try_lock().unwrap();
        let mut starved = owned_lock(&mutex);
        assert!(poll_once(&mut starved).is_pending());
        for _ in 0..2 {
            guard = overtake(&mutex, guard, &mut starved);
        }
        let dropping = thread::spawn(move || drop(starved));
        drop(guard);
        lock_and_add(&mutex);
        dropping.join().unwrap();
        assert!(mutex.try_lock().is_some());
    });
}

#[test]
fn try_lock_beside_a_lock_neither_breaks_exclusion_nor_loses_the_waiter() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(Tracked::new()));
        let trying = thread::spawn({
            let mutex = mutex.clone();
            move || {
                if let Some(mut guard) = mutex.try_lock() {
                    guard.add_one();
                }
            }
        });
        lock_and_add(&mutex);
        trying.join().unwrap();
        assert!(mutex.try_lock().is_some());
    });
}
