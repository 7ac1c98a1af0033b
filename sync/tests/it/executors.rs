//! The primitives work under other executors, and between several executors.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use async_executor::{Executor, LocalExecutor};
use futures::executor::{LocalPool, block_on};
use futures::task::LocalSpawnExt;
use matou_sync::{Condition, Mutex, Queue};

use crate::support::{with_deadline, yield_now};

#[test]
fn m5_a_task_that_relocks_at_once_cannot_starve_another() {
    let (greedy_rounds, entered) = with_deadline(|| {
        let (mutex, entered) = (Mutex::new(0_u64), Cell::new(false));
        let executor = LocalExecutor::new();
        let greedy = executor.spawn(async {
            // Holds the lock whenever it yields, and locks again at once. The other task gets the
            // lock only if this one has to wait for once; otherwise the test never ends.
            while !entered.get() {
                let mut guard = mutex.lock().await;
                *guard += 1;
                yield_now().await;
            }
        });
        let waiter = executor.spawn(async {
            yield_now().await;
            let rounds = *mutex.lock().await;
            entered.set(true);
            rounds
        });
        let rounds = block_on(executor.run(async {
            greedy.await;
            waiter.await
        }));
        (rounds, entered.get())
    });
    assert!(entered);
    assert!(greedy_rounds > 0, "the greedy task held the lock when the other one arrived");
}

#[test]
fn tasks_of_one_executor_on_many_threads_share_a_mutex() {
    const TASKS: usize = 50;
    const ROUNDS: usize = 100;
    let total = with_deadline(|| {
        let executor = Arc::new(Executor::new());
        let mutex = Arc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mutex = mutex.clone();
                executor.spawn(async move {
                    for _ in 0..ROUNDS {
                        let mut guard = mutex.lock().await;
                        let before = *guard;
                        yield_now().await;
                        *guard = before + 1;
                    }
                })
            })
            .collect();
        let stop = Queue::<()>::unbounded();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(block_on(executor.run(stop.pop())).is_err()));
            }
            block_on(futures::future::join_all(tasks));
            stop.close();
        });
        *mutex.try_lock().unwrap()
    });
    assert_eq!(total, TASKS * ROUNDS);
}

#[test]
fn m2_tasks_cancelled_at_random_points_leave_the_mutex_and_the_queue_usable() {
    let (left, received) = with_deadline(|| {
        let executor = Arc::new(Executor::new());
        let mutex = Arc::new(Mutex::new(()));
        let queue = Arc::new(Queue::bounded(1));
        let received = Arc::new(AtomicUsize::new(0));
        let spawn = |_| {
            let (mutex, queue, received) = (mutex.clone(), queue.clone(), received.clone());
            executor.spawn(async move {
                loop {
                    let guard = mutex.lock().await;
                    yield_now().await;
                    drop(guard);
                    queue.pop().await.unwrap();
                    received.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let stop = Queue::<()>::unbounded();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(block_on(executor.run(stop.pop())).is_err()));
            }
            let survivor = spawn(0);
            for round in 0..200 {
                // Some are cancelled before their first poll, some while waiting, some when
                // notified.
                let cancelled: Vec<_> = (0..4).map(spawn).collect();
                block_on(queue.push(round)).unwrap();
                drop(cancelled);
            }
            // The survivor receives the values that the cancelled tasks did not take.
            while received.load(Ordering::SeqCst) < 200 {
                thread::yield_now();
            }
            drop(survivor);
            stop.close();
        });
        drop(executor);
        assert!(mutex.try_lock().is_some());
        (mutex.waiters() + queue.len(), received.load(Ordering::SeqCst))
    });
    assert_eq!((left, received), (0, 200));
}

#[test]
fn tasks_of_different_executors_share_a_condition() {
    let total =
        with_deadline(|| {
            let shared = Arc::new((Mutex::new(0), Condition::new()));
            let pool = thread::spawn({
                let shared = shared.clone();
                move || {
                    let mut pool = LocalPool::new();
                    for _ in 0..10 {
                        let shared = shared.clone();
                        let add = async move {
                            *shared.0.lock().await += 1;
                            shared.1.signal();
                        };
                        pool.spawner().spawn_local(add).unwrap();
                    }
                    pool.run();
                }
            });
            let executor = Executor::new();
            let total =
                block_on(executor.run(
                    executor.spawn({
                        let shared = shared.clone();
                        async move {
                            *shared.1.wait_while(shared.0.lock().await, |total| *total < 10).await
                        }
                    }),
                ));
            pool.join().unwrap();
            total
        });
    assert_eq!(total, 10);
}
