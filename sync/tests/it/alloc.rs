//! Uncontended operations do not allocate. Allocations are counted per thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use matou_sync::{Condition, Mutex, Semaphore};

use crate::support::Task;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

std::thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: both methods forward to `System`, which upholds the trait's contract; counting does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails if the thread is being destroyed; allocations at that point are not counted.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller upholds the contract of `alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller passes a block that `alloc` returned, that is, one of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocations(body: impl FnOnce()) -> usize {
    let before = COUNT.get();
    body();
    COUNT.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
}

#[test]
fn locking_an_unlocked_mutex_allocates_nothing() {
    let task = Task::new();
    let waker_cost = allocations(|| drop(task.waker()));
    assert_eq!(waker_cost, 0);
    assert_eq!(
        allocations(|| {
            let mutex = Mutex::new(0);
            for _ in 0..100 {
                *task.assert_ready(mutex.lock()) += 1;
                *mutex.try_lock().unwrap() += 1;
            }
            assert_eq!(mutex.into_inner(), 200);
        }),
        0
    );
}

#[test]
fn signals_without_waiters_and_waits_in_used_slots_allocate_nothing() {
    let (task, mutex, changed) = (Task::new(), Mutex::new(()), Condition::new());
    assert_eq!(allocations(|| assert!(!changed.signal())), 0);

    let wait_once = || {
        let mut wait = changed.wait(mutex.try_lock().unwrap());
        task.assert_pending(&mut wait);
        assert!(changed.signal());
        drop(task.assert_ready(wait));
    };
    wait_once();
    assert_eq!(allocations(wait_once), 0);
}

#[test]
fn acquiring_permits_that_no_task_waits_for_allocates_nothing() {
    let (task, semaphore) = (Task::new(), Semaphore::new(2));
    assert_eq!(
        allocations(|| {
            let first = task.assert_ready(semaphore.acquire());
            let second = semaphore.try_acquire();
            assert!(first.is_ok() && second.is_ok() && semaphore.try_acquire().is_err());
        }),
        0
    );
}
