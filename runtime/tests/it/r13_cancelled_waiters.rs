//! Goal: a cancelled task that waits for its children, and still queues for a lock, blocks no other
//! task.
//! Method: as in `r13_offers`.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use futures::future::select;
use matou_runtime::{Builder, MainError, defer, shield, spawn, yield_now};
use matou_sync::{Mutex, Queue};

use crate::support::{WakeCounter, everywhere, fewer, run_on, waiters, within_deadline_on_stack};

#[test]
fn b8_a_cancelled_waiter_does_not_keep_the_lock_from_its_shield() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let parent = place.spawn(move || async move {
            let inner = Arc::clone(&lock);
            let child = shield(async move {
                waiters(&inner, 1).await;
                *inner.lock().await += 1;
            });
            let _guard = lock.lock().await;
            let _ = child.await;
        });
        waiters(&mutex, 2).await;
        let cancelled = parent.cancel();
        drop(guard);
        cancelled.await;
        assert_eq!(*mutex.lock().await, 1, "the shield had the lock before its limit");
        Ok(())
    });
}

/// Also before the cancelled task is polled again.
#[test]
fn b8_an_offer_to_a_cancelled_task_goes_to_the_next_waiter_at_once() {
    let result = run_on(1, || async {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let first = spawn(async move { drop(lock.lock().await) });
        waiters(&mutex, 1).await;
        let counter = WakeCounter::new();
        let (waker, mut second) = (Waker::from(Arc::clone(&counter)), mutex.lock());
        assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
        let cancelled = first.cancel();
        drop(guard);
        assert_eq!(counter.wakes.get(), 1);
        drop(second);
        cancelled.await;
        Ok(())
    });
    result.expect("the run succeeds");
}

#[test]
fn b8_a_cancelled_waiter_does_not_keep_the_lock_from_a_finalizer_of_its_child() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let parent = place.spawn(move || async move {
            let inner = Arc::clone(&lock);
            let child = spawn(async move {
                let finalizing = Arc::clone(&inner);
                defer(async move { *finalizing.lock().await += 1 });
                pending::<()>().await;
            });
            let _guard = lock.lock().await;
            let _ = child.await;
        });
        waiters(&mutex, 1).await;
        // The child has begun.
        for _ in 0..20 {
            yield_now().await;
        }
        let mut cancelled = pin!(parent.cancel());
        let _ = select(&mut cancelled, pin!(waiters(&mutex, 2))).await;
        drop(guard);
        cancelled.await;
        assert_eq!(*mutex.lock().await, 1);
        Ok(())
    });
}

/// Every one of them declines at once, each inside the wake-up of the one before.
#[test]
fn f13_many_cancelled_waiters_are_skipped_without_recursion() {
    const TASKS: usize = fewer(10_000) as usize;
    within_deadline_on_stack(512 << 10, || {
        let run = Builder::new().domains(1).run(async {
            let mutex = Arc::new(Mutex::new(()));
            let guard = mutex.lock().await;
            let done = Arc::new(Queue::<()>::unbounded());
            let parents: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (mutex, done) = (Arc::clone(&mutex), Arc::clone(&done));
                    spawn(async move {
                        let child = shield(async move { assert!(done.pop().await.is_err()) });
                        let _guard = mutex.lock().await;
                        let _ = child.await;
                    })
                })
                .collect();
            waiters(&mutex, TASKS).await;
            let lock = Arc::clone(&mutex);
            let last = spawn(async move { drop(lock.lock().await) });
            waiters(&mutex, TASKS + 1).await;
            let cancelled: Vec<_> = parents.into_iter().map(|parent| parent.cancel()).collect();
            drop(guard);
            last.await?;
            done.close();
            for parent in cancelled {
                parent.await;
            }
            Ok::<_, MainError>(())
        });
        run.expect("the run succeeds");
    });
}
