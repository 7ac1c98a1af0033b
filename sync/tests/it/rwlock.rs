//! Readers share the lock, a writer has it alone, and all are served in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;
use matou_sync::{RwLock, WriteGuard};

use crate::support::{Task, with_deadline, yield_now};

#[test]
fn a_waiting_writer_is_not_starved_by_readers_nor_readers_by_writers() {
    let (lock, task) = (RwLock::new(0), Task::new());
    let reading = lock.try_read().unwrap();
    let mut write = lock.write();
    task.assert_pending(&mut write);
    for _ in 0..100 {
        assert!(lock.try_read().is_none());
        task.assert_pending(&mut lock.read());
    }
    let readers = [Task::new(), Task::new()];
    let mut reads = [lock.read(), lock.read()];
    readers.iter().zip(&mut reads).for_each(|(task, read)| task.assert_pending(read));
    let mut later = lock.write();
    task.assert_pending(&mut later);
    drop(reading);
    let mut writing = task.assert_ready(write);
    *writing += 1;
    assert!(lock.try_write().is_none());
    drop(writing);
    // Both readers, although a writer came after them.
    assert_eq!(readers.each_ref().map(Task::wakes), [1, 1]);
    task.assert_pending(&mut later);
    let mut reads = reads.into_iter();
    let guards = readers.each_ref().map(|task| task.assert_ready(reads.next().unwrap()));
    assert_eq!(*guards[0] + *guards[1], 2);
    drop(guards);
    *task.assert_ready(later) += 1;
    assert_eq!((lock.waiters(), *lock.try_read().unwrap()), (0, 2));
}

#[test]
fn a_writer_that_is_dropped_lets_the_readers_behind_it_pass() {
    let (lock, task) = (RwLock::new(0), Task::new());
    let reading = lock.try_read().unwrap();
    let (mut write, mut read) = (lock.write(), lock.read());
    task.assert_pending(&mut write);
    task.assert_pending(&mut read);
    drop(write);
    assert_eq!(*task.assert_ready(read) + *reading, 0);
}

#[test]
fn a_downgraded_writer_reads_what_it_has_written_beside_other_readers() {
    let (lock, task) = (Arc::new(RwLock::new(1)), Task::new());
    let mut writing = task.assert_ready(lock.write_arc());
    let (mut read, mut write) = (lock.read(), lock.write());
    task.assert_pending(&mut read);
    task.assert_pending(&mut write);
    *writing = 2;
    let own = WriteGuard::downgrade(writing);
    let other = task.assert_ready(read);
    task.assert_pending(&mut write);
    assert_eq!(*own + *other, 4);
    drop((own, other));
    *task.assert_ready(write) = 3;
    assert_eq!(*task.assert_ready(lock.read_arc()), 3);
    assert_eq!(Arc::strong_count(&lock), 1);
}

#[test]
fn m10_a_panic_unlocks() {
    let lock = RwLock::new(0);
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock.try_write();
        std::panic::resume_unwind(Box::new("panic"));
    }));
    assert!(panicked.is_err() && lock.try_write().is_some());
}

#[test]
fn threads_that_read_and_write_see_consistent_data() {
    let sum = with_deadline(|| {
        let lock = RwLock::new((0, 0));
        let reads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (lock, reads) = (&lock, &reads);
                scope.spawn(move || {
                    for round in 0..200 {
                        if (number + round) % 3 == 0 {
                            let mut guard = block_on(lock.write());
                            guard.0 += 1;
                            block_on(yield_now());
                            guard.1 += 1;
                        } else {
                            let guard = block_on(lock.read());
                            assert_eq!(guard.0, guard.1);
                            reads.fetch_add(1, Ordering::SeqCst);
                        }
                        drop(Task::new().poll(&mut lock.write()));
                    }
                });
            }
        });
        lock.into_inner().0 + reads.into_inner()
    });
    assert_eq!(sum, 800);
}
