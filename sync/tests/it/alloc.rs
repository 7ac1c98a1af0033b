//! What does it cost while nobody waits? Counts allocations, on this thread only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use matou_sync::{Condition, Mutex};

use crate::support::Task;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

std::thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: both methods do what `System` does; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The thread may be ending; what it allocates then is nobody's concern.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`, by `alloc`.
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
fn locking_a_free_mutex_allocates_nothing() {
    let task = Task::new();
    let waker_cost = allocations(|| drop(task.waker()));
    assert_eq!(waker_cost, 0);
    assert_eq!(
        allocations(|| {
            let mutex = Mutex::new(0);
            for _ in 0..100 {
                *task.finish(mutex.lock()) += 1;
                *mutex.try_lock().unwrap() += 1;
            }
            assert_eq!(mutex.into_inner(), 200);
        }),
        0
    );
}

#[test]
fn signals_to_nobody_and_waits_in_used_slots_allocate_nothing() {
    let (task, mutex, changed) = (Task::new(), Mutex::new(()), Condition::new());
    assert_eq!(allocations(|| assert!(!changed.signal())), 0);

    let wait_once = || {
        let mut wait = changed.wait(mutex.try_lock().unwrap());
        task.wait(&mut wait);
        assert!(changed.signal());
        drop(task.finish(wait));
    };
    wait_once();
    assert_eq!(allocations(wait_once), 0);
}
