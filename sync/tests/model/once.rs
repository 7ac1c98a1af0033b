//! A cell or a barrier leaves no task waiting.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{Barrier, OnceCell};

use crate::support::loom::{OwnedFuture, explore, poll_once};

#[test]
fn a_cell_whose_initializer_fails_is_initialized_by_the_other_task() {
    explore(3, || {
        let cell = Arc::new(OnceCell::new());
        let failing = thread::spawn({
            let cell = cell.clone();
            move || block_on(cell.get_or_try_init(|| async { Err(()) })).is_err()
        });
        assert_eq!(block_on(cell.get_or_init(|| async { 1 })), &1);
        failing.join().unwrap();
    });
}

#[test]
fn tasks_that_want_the_value_of_a_cell_at_the_same_time_get_the_same() {
    explore(3, || {
        let cell = Arc::new(OnceCell::new());
        let other = thread::spawn({
            let cell = cell.clone();
            move || *block_on(cell.get_or_init(|| async { 1 }))
        });
        let value = *block_on(cell.get_or_init(|| async { 2 }));
        assert_eq!(other.join().unwrap(), value);
    });
}

#[test]
fn a_waiter_of_a_barrier_that_is_dropped_was_there_or_was_not() {
    explore(3, || {
        let barrier = Arc::new(Barrier::new(2));
        let [mut first, mut second, mut third] = [(); 3].map(|()| -> OwnedFuture<bool> {
            let barrier = barrier.clone();
            Box::pin(async move { barrier.wait().await.is_leader() })
        });
        assert!(poll_once(&mut first).is_pending());
        let dropping = thread::spawn(move || drop(first));
        let went_on = poll_once(&mut second).is_ready();
        dropping.join().unwrap();
        assert_eq!(poll_once(&mut third).is_pending(), went_on);
        assert!(went_on || poll_once(&mut second).is_ready());
    });
}

#[test]
fn the_tasks_of_a_barrier_wake_each_other() {
    explore(3, || {
        let barrier = Arc::new(Barrier::new(2));
        let other = thread::spawn({
            let barrier = barrier.clone();
            move || block_on(barrier.wait()).is_leader()
        });
        assert!(block_on(barrier.wait()).is_leader() != other.join().unwrap());
    });
}
