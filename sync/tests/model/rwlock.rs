//! No reader or writer is forgotten.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{RwLock, RwLockWriteGuard};

use crate::support::loom::{OwnedFuture, explore, poll_once};

#[test]
fn a_writer_and_a_reader_exclude_each_other() {
    explore(3, || {
        let lock = Arc::new(RwLock::new((0, 0)));
        let writing = thread::spawn({
            let lock = lock.clone();
            move || {
                let mut guard = block_on(lock.write());
                guard.0 += 1;
                thread::yield_now();
                guard.1 += 1;
            }
        });
        let guard = block_on(lock.read());
        assert_eq!(guard.0, guard.1);
        drop(guard);
        writing.join().unwrap();
        assert_eq!((*lock.try_read().unwrap(), lock.waiters()), ((1, 1), 0));
    });
}

#[test]
fn a_downgrade_wakes_the_readers_and_then_the_writer() {
    explore(2, || {
        let lock = Arc::new(RwLock::new(0));
        let mut writing = lock.try_write().unwrap();
        let reading = thread::spawn({
            let lock = lock.clone();
            move || assert_eq!(*block_on(lock.read()), 1)
        });
        *writing = 1;
        let guard = RwLockWriteGuard::downgrade(writing);
        reading.join().unwrap();
        drop(guard);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn m2_a_writer_that_is_dropped_bars_no_reader() {
    explore(3, || {
        let lock = Arc::new(RwLock::new(()));
        let guard = lock.try_read().unwrap();
        let mut write: OwnedFuture<()> = {
            let lock = lock.clone();
            Box::pin(async move { drop(lock.write().await) })
        };
        assert!(poll_once(&mut write).is_pending());
        let dropping = thread::spawn(move || drop(write));
        drop(block_on(lock.read()));
        dropping.join().unwrap();
        drop(guard);
        assert!(lock.try_write().is_some());
    });
}
