//! Does the mutex exclude, and does everybody get it who waits, whatever the others do?

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;

use futures::executor::block_on;
use matou_sync::futures::Lock;
use matou_sync::{Mutex, MutexGuard};

use crate::support::{Task, within_the_deadline};

/// Has `first` called and overtaken until it bars newcomers. It then has to be polled or dropped.
fn starve(mutex: &Mutex<u32>, task: &Task, first: &mut Lock<'_, u32>) {
    let mut guard = mutex.try_lock();
    task.wait(first);
    for _ in 0..5 {
        // Call the waiter, and overtake it before it runs.
        drop(guard);
        guard = mutex.try_lock();
        assert!(guard.is_some(), "it is patient as yet");
        task.wait(first);
    }
    drop(guard);
    assert!(mutex.try_lock().is_none(), "newcomers are barred");
}

#[test]
fn m1_many_threads_count_without_losing_one() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 5_000;
    let total = within_the_deadline(|| {
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
    let total = within_the_deadline(|| {
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
    first_task.wait(&mut first);
    second_task.wait(&mut second);

    drop(guard);
    assert_eq!((first_task.wakes(), second_task.wakes()), (1, 0));
    drop(first);

    assert_eq!(second_task.wakes(), 1);
    drop(second_task.finish(second));
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
fn m3_a_lock_dropped_in_the_line_leaves_no_ghost() {
    let mutex = Mutex::new(0);
    let tasks = [Task::new(), Task::new(), Task::new()];
    let guard = mutex.try_lock();
    let mut locks = [mutex.lock(), mutex.lock(), mutex.lock()];
    for (task, lock) in tasks.iter().zip(&mut locks) {
        task.wait(lock);
    }
    let [first, second, third] = locks;
    drop(second);
    assert_eq!(mutex.waiters(), 2);

    drop(guard);
    drop(tasks[0].finish(first));
    drop(tasks[2].finish(third));
    assert_eq!(tasks.map(|task| task.wakes()), [1, 0, 1]);
    assert_eq!(mutex.waiters(), 0);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m3_a_starved_lock_that_is_dropped_bars_nobody_any_more() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let mut starved = mutex.lock();
    starve(&mutex, &task, &mut starved);
    assert!(mutex.try_lock().is_none());
    drop(starved);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m4_a_called_lock_that_nobody_polls_does_not_stop_newcomers() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = mutex.try_lock();
    let mut kept = mutex.lock();
    task.wait(&mut kept);
    drop(guard);
    assert_eq!(task.wakes(), 1);
    // `kept` was called and is kept, as by a half-done `select!`. The same task locks again.
    drop(task.finish(mutex.lock()));
    drop(task.finish(kept));
}

#[test]
fn m4_a_starved_lock_that_nobody_polls_shows_as_waiters_without_a_holder() {
    let mutex = Mutex::new(0);
    let (kept_task, next_task) = (Task::new(), Task::new());
    let mut kept = mutex.lock();
    starve(&mutex, &kept_task, &mut kept);

    let mut next = mutex.lock();
    next_task.wait(&mut next);
    assert_eq!((mutex.holder(), mutex.waiters()), (None, 2));

    drop(kept);
    assert_eq!(next_task.wakes(), 1);
    drop(next_task.finish(next));
}

#[test]
fn m5_a_waiter_that_is_overtaken_again_and_again_gets_its_turn() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let mut waiter = mutex.lock();
    starve(&mutex, &task, &mut waiter);
    // The mutex is free, a newcomer is refused, and the waiter has been called.
    let mut newcomer = mutex.lock();
    Task::new().wait(&mut newcomer);
    let guard = task.finish(waiter);
    assert!(mutex.try_lock().is_none());
    drop(guard);
    drop(Task::new().finish(newcomer));
    assert!(mutex.try_lock().is_some(), "newcomers are welcome again");
}

#[test]
fn m5_waiters_are_called_in_the_order_in_which_they_came() {
    let mutex = Mutex::new(Vec::new());
    let guard = mutex.try_lock();
    let mut locks: Vec<_> = (0..10).map(|_| (Task::new(), mutex.lock())).collect();
    for (task, lock) in &mut locks {
        task.wait(lock);
    }
    drop(guard);
    for (index, (task, lock)) in locks.into_iter().enumerate() {
        assert_eq!(task.wakes(), 1, "number {index} is next");
        task.finish(lock).push(index);
    }
    assert!(mutex.into_inner().is_sorted());
}

#[test]
fn m10_a_panic_unlocks_and_the_data_stay_as_they_were_left() {
    let mutex = Mutex::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = mutex.try_lock().unwrap();
        *guard = 1;
        std::panic::resume_unwind(Box::new("half done"));
    }));
    assert!(panicked.is_err());
    assert_eq!(mutex.try_lock().as_deref(), Some(&1));
}

#[test]
fn m12_a_waiter_is_woken_once_for_an_unlocking_and_not_before() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let tasks: Vec<_> = (0..100).map(|_| Task::new()).collect();
    let mut locks: Vec<_> = tasks.iter().map(|_| mutex.lock()).collect();
    for _ in 0..3 {
        tasks.iter().zip(&mut locks).for_each(|(task, lock)| task.wait(lock));
    }
    let all_wakes = || tasks.iter().map(Task::wakes).sum::<usize>();
    assert_eq!(all_wakes(), 0, "nobody polls in a loop");

    drop(guard);
    assert_eq!(all_wakes(), 1, "one unlocking wakes one task");
    drop(mutex.try_lock());
    assert_eq!(all_wakes(), 1, "who was called already is not called again");
}

#[test]
fn the_last_of_many_wakers_is_the_one_that_is_woken() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let mut lock = mutex.lock();
    let tasks: Vec<_> = (0..100).map(|_| Task::new()).collect();
    tasks.iter().for_each(|task| task.wait(&mut lock));
    drop(guard);
    let wakes: Vec<_> = tasks.iter().map(Task::wakes).collect();
    assert_eq!((wakes[99], wakes.iter().sum::<usize>()), (1, 1));
}

#[test]
fn a_lock_polled_after_it_has_resolved_panics_and_says_so() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let mut lock = mutex.lock();
    assert!(task.poll(&mut lock).is_ready());
    let again = catch_unwind(AssertUnwindSafe(|| task.poll(&mut lock).is_ready()));
    let payload = again.unwrap_err();
    let message = match payload.downcast_ref::<String>() {
        Some(message) => message,
        None => *payload.downcast_ref::<&str>().expect("a panic with a message"),
    };
    assert_eq!(message, "a `Lock` was polled after it had resolved");
    assert!(mutex.try_lock().is_some());
}

#[test]
fn what_is_not_send_can_be_locked_on_one_thread() {
    let mutex = Mutex::new(Rc::new(Cell::new(1)));
    block_on(async {
        mutex.lock().await.set(2);
        assert_eq!(mutex.lock().await.get(), 2);
    });
}

#[test]
fn what_is_unsized_can_be_locked() {
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
    Task::new().wait(&mut future);
    assert!(mutex.holder().is_some());
    thread::spawn(move || block_on(future)).join().unwrap();
    assert_eq!(mutex.try_lock().unwrap().len(), 2);
}

#[test]
fn the_holder_is_the_line_that_asked() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = task.finish(mutex.lock());
    let here = line!() - 1;
    assert_eq!(mutex.holder().map(|line| (line.file(), line.line())), Some((file!(), here)));
    assert!(format!("{mutex:?}").contains(&format!("{}:{here}:", file!())), "{mutex:?}");
    drop(guard);
    assert_eq!(mutex.holder(), None);
}

#[test]
fn the_types_are_as_send_and_sync_as_they_should_be() {
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
