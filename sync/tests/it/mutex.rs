//! The mutex admits one holder at a time, and each task that waits gets the lock.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;

use futures::executor::block_on;
use matou_sync::futures::Lock;
use matou_sync::{Mutex, MutexGuard};

use crate::support::{Task, with_deadline};

/// Overtakes `first` until it is starved and holds newcomers back, and leaves the mutex unlocked.
fn starve(mutex: &Mutex<u32>, task: &Task, first: &mut Lock<'_, u32>) {
    let mut guard = mutex.try_lock();
    task.assert_pending(first);
    for _ in 0..5 {
        // Unlock, which notifies the waiter, and lock again before it is polled.
        drop(guard);
        guard = mutex.try_lock();
        assert!(guard.is_some(), "the waiter is not starved yet");
        task.assert_pending(first);
    }
    drop(guard);
    assert!(mutex.try_lock().is_none(), "newcomers are held back");
}

#[test]
fn m1_many_threads_count_without_losing_one() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 5_000;
    let total = with_deadline(|| {
        let mutex = Arc::new(Mutex::new(0));
        let start = Arc::new(Barrier::new(THREADS));
        let threads = [(); THREADS].map(|()| {
            let (mutex, start) = (mutex.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                for _ in 0..ROUNDS {
                    *block_on(mutex.lock()) += 1;
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(mutex.waiters(), 0);
        *mutex.try_lock().unwrap()
    });
    assert_eq!(total, THREADS * ROUNDS);
}

#[test]
fn m1_blocked_threads_and_tasks_share_a_mutex() {
    let total = with_deadline(|| {
        let mutex = Mutex::new(0);
        thread::scope(|scope| {
            for blocking in [true, false, true, false] {
                let mutex = &mutex;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let mut guard =
                            if blocking { mutex.lock_blocking() } else { block_on(mutex.lock()) };
                        *guard += 1;
                    }
                });
            }
        });
        mutex.into_inner()
    });
    assert_eq!(total, 8_000);
}

#[test]
fn m2_a_notified_waiter_dropped_before_its_poll_wakes_the_next() {
    let mutex = Mutex::new(0);
    let (first_task, second_task) = (Task::new(), Task::new());
    let guard = mutex.try_lock();
    let (mut first, mut second) = (mutex.lock(), mutex.lock());
    first_task.assert_pending(&mut first);
    second_task.assert_pending(&mut second);

    drop(guard);
    assert_eq!((first_task.wakes(), second_task.wakes()), (1, 0));
    drop(first);

    assert_eq!(second_task.wakes(), 1);
    drop(second_task.assert_ready(second));
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m3_a_lock_dropped_before_its_first_poll_leaves_no_trace() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    drop(mutex.lock());
    assert_eq!(mutex.waiters(), 0);
    drop(guard);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m3_a_lock_dropped_among_the_waiters_leaves_no_entry() {
    let mutex = Mutex::new(0);
    let tasks = [Task::new(), Task::new(), Task::new()];
    let guard = mutex.try_lock();
    let mut locks = [mutex.lock(), mutex.lock(), mutex.lock()];
    for (task, lock) in tasks.iter().zip(&mut locks) {
        task.assert_pending(lock);
    }
    let [first, second, third] = locks;
    drop(second);
    assert_eq!(mutex.waiters(), 2);

    drop(guard);
    drop(tasks[0].assert_ready(first));
    drop(tasks[2].assert_ready(third));
    assert_eq!(tasks.map(|task| task.wakes()), [1, 0, 1]);
    assert_eq!(mutex.waiters(), 0);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m3_a_starved_lock_that_is_dropped_no_longer_holds_newcomers_back() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let mut starved = mutex.lock();
    starve(&mutex, &task, &mut starved);
    assert!(mutex.try_lock().is_none());
    drop(starved);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m4_a_notified_lock_that_is_not_polled_does_not_stop_newcomers() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = mutex.try_lock();
    let mut kept = mutex.lock();
    task.assert_pending(&mut kept);
    drop(guard);
    assert_eq!(task.wakes(), 1);
    // `kept` was notified but is not polled, as in an unfinished `select!`. The same task locks
    // again.
    drop(task.assert_ready(mutex.lock()));
    drop(task.assert_ready(kept));
}

#[test]
fn m4_a_starved_lock_that_is_not_polled_shows_as_waiters_without_a_holder() {
    let mutex = Mutex::new(0);
    let (kept_task, next_task) = (Task::new(), Task::new());
    let mut kept = mutex.lock();
    starve(&mutex, &kept_task, &mut kept);

    let mut next = mutex.lock();
    next_task.assert_pending(&mut next);
    assert_eq!((mutex.holder(), mutex.waiters()), (None, 2));

    drop(kept);
    assert_eq!(next_task.wakes(), 1);
    drop(next_task.assert_ready(next));
}

#[test]
fn m5_a_waiter_that_is_overtaken_five_times_gets_the_lock() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let mut waiter = mutex.lock();
    starve(&mutex, &task, &mut waiter);
    // The mutex is unlocked, a newcomer has to wait, and the waiter has been notified.
    let mut newcomer = mutex.lock();
    Task::new().assert_pending(&mut newcomer);
    let guard = task.assert_ready(waiter);
    assert!(mutex.try_lock().is_none());
    drop(guard);
    drop(Task::new().assert_ready(newcomer));
    assert!(mutex.try_lock().is_some(), "newcomers are no longer held back");
}

#[test]
fn m5_waiters_are_notified_in_the_order_in_which_they_began_to_wait() {
    let mutex = Mutex::new(Vec::new());
    let guard = mutex.try_lock();
    let mut locks: Vec<_> = (0..10).map(|_| (Task::new(), mutex.lock())).collect();
    for (task, lock) in &mut locks {
        task.assert_pending(lock);
    }
    drop(guard);
    for (index, (task, lock)) in locks.into_iter().enumerate() {
        assert_eq!(task.wakes(), 1, "number {index} is next");
        task.assert_ready(lock).push(index);
    }
    assert!(mutex.into_inner().is_sorted());
}

#[test]
fn m10_a_panic_unlocks_and_the_data_stay_as_they_were_left() {
    let mutex = Mutex::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = mutex.try_lock().unwrap();
        *guard = 1;
        std::panic::resume_unwind(Box::new("panic"));
    }));
    assert!(panicked.is_err());
    assert_eq!(mutex.try_lock().as_deref(), Some(&1));
}

#[test]
fn m12_an_unlock_wakes_one_waiter_once() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let tasks: Vec<_> = (0..100).map(|_| Task::new()).collect();
    let mut locks: Vec<_> = tasks.iter().map(|_| mutex.lock()).collect();
    for _ in 0..3 {
        tasks.iter().zip(&mut locks).for_each(|(task, lock)| task.assert_pending(lock));
    }
    let all_wakes = || tasks.iter().map(Task::wakes).sum::<usize>();
    assert_eq!(all_wakes(), 0, "no wake-up while the mutex is locked");

    drop(guard);
    assert_eq!(all_wakes(), 1, "one unlock wakes one task");
    drop(mutex.try_lock());
    assert_eq!(all_wakes(), 1, "a notified waiter is not woken again");
}

#[test]
fn a_lock_polled_with_many_wakers_wakes_the_last_one() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let mut lock = mutex.lock();
    let tasks: Vec<_> = (0..100).map(|_| Task::new()).collect();
    tasks.iter().for_each(|task| task.assert_pending(&mut lock));
    drop(guard);
    let wakes: Vec<_> = tasks.iter().map(Task::wakes).collect();
    assert_eq!((wakes[99], wakes.iter().sum::<usize>()), (1, 1));
}

#[test]
fn data_that_are_not_send_can_be_locked_on_one_thread() {
    let mutex = Mutex::new(Rc::new(Cell::new(1)));
    block_on(async {
        mutex.lock().await.set(2);
        assert_eq!(mutex.lock().await.get(), 2);
    });
}

#[test]
fn unsized_data_can_be_locked() {
    let mutex: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    mutex.try_lock().unwrap()[0] = 4;
    assert_eq!(mutex.try_lock().as_deref(), Some(&[4, 2, 3][..]));
}

#[test]
fn a_guard_can_be_held_across_an_await_and_moved_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let mutex = Arc::new(Mutex::new(vec![1]));
    let future = is_send({
        let mutex = mutex.clone();
        async move {
            let mut guard: MutexGuard<'_, Vec<i32>> = mutex.lock().await;
            crate::support::yield_now().await;
            guard.push(2);
        }
    });
    let mut future = Box::pin(future);
    Task::new().assert_pending(&mut future);
    assert!(mutex.holder().is_some());
    thread::spawn(move || block_on(future)).join().unwrap();
    assert_eq!(mutex.try_lock().unwrap().len(), 2);
}

#[test]
fn the_holder_is_the_location_of_the_call() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = task.assert_ready(mutex.lock());
    let here = line!() - 1;
    assert_eq!(mutex.holder().map(|line| (line.file(), line.line())), Some((file!(), here)));
    assert!(format!("{mutex:?}").contains(&format!("{}:{here}:", file!())), "{mutex:?}");
    drop(guard);
    assert_eq!(mutex.holder(), None);
}

#[test]
fn the_types_are_send_sync_and_unpin_as_documented() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn unpin<T: Future + Unpin>() {}
    send::<Mutex<Cell<u8>>>();
    sync::<Mutex<Cell<u8>>>();
    send::<MutexGuard<'_, Cell<u8>>>();
    sync::<MutexGuard<'_, u8>>();
    send::<Lock<'_, Cell<u8>>>();
    unpin::<Lock<'_, u8>>();
}

#[test]
fn an_owned_guard_outlives_the_handle_and_wakes_the_next() {
    let (mutex, task) = (Arc::new(Mutex::new(0)), Task::new());
    let guard = mutex.try_lock_arc().unwrap();
    let mut second = mutex.lock_arc();
    let mut third = mutex.lock();
    task.assert_pending(&mut second);
    task.assert_pending(&mut third);
    assert_eq!(mutex.holder().map(|at| at.file()), Some(file!()));
    drop(guard);
    assert_eq!(task.wakes(), 1);
    // A notified lock that is dropped notifies the next.
    drop(second);
    *task.assert_ready(third) = 1;
    let last = task.assert_ready(mutex.lock_arc());
    assert_eq!(Arc::strong_count(&mutex), 2);
    drop(mutex);
    assert_eq!(*last, 1);
}
