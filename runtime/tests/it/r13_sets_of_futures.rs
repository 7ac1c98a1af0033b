//! Goal: a future that is polled again after others, as those of a set or of a loop are, loses no
//! offer, and is no finding.
//! Method: as in `r13_offers`.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select;
use futures::stream::FuturesUnordered;
use matou_runtime::{Builder, await_all, shield, sleep, spawn, yield_now};
use matou_sync::Mutex;

use crate::support::{Reports, everywhere, run_with, waiters};

/// A set of futures polls only those that were woken, and its task is woken for other reasons too.
/// If an offer were declined before the wake-up had arrived, these would lose their turns.
#[test]
fn f13_futures_of_a_set_are_not_taken_for_set_aside() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let children: Vec<_> = (0..3)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                place.spawn(move || async move {
                    let lock = |index| {
                        let mutex = &mutex;
                        async move {
                            let mut guard = mutex.lock().await;
                            yield_now().await;
                            guard.push(index);
                        }
                    };
                    let mut locks: FuturesUnordered<_> = (0..5).map(lock).collect();
                    while locks.next().await.is_some() {}
                })
            })
            .collect();
        for outcome in await_all(children).await {
            outcome?;
        }
        assert_eq!(mutex.lock().await.len(), 15);
        Ok(())
    });
}

#[test]
fn f13_a_select_loop_that_comes_back_to_its_lock_gets_it() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = Arc::clone(&mutex);
        let looping = place.spawn(move || async move {
            let mut locking = pin!(lock.lock());
            for _ in 0..50 {
                let tick = pin!(yield_now());
                if let futures::future::Either::Left((mut guard, _)) =
                    select(&mut locking, tick).await
                {
                    *guard += 1;
                    return;
                }
                // Set aside for a moment.
                yield_now().await;
                sleep(Duration::from_micros(10)).await;
            }
            *locking.await += 1;
        });
        waiters(&mutex, 1).await;
        let lock = Arc::clone(&mutex);
        let other = place.spawn(move || async move { *lock.lock().await += 1 });
        waiters(&mutex, 2).await;
        drop(guard);
        other.await?;
        looping.await?;
        assert_eq!(*mutex.lock().await, 2);
        Ok(())
    });
}

/// Futures of one stream that lock, beside a lock in the body of the loop.
#[test]
fn f13_b10_a_buffered_stream_of_locks_beside_a_lock_in_the_loop_ends() {
    everywhere(|place| async move {
        let mutex = Arc::new(Mutex::new(0));
        let lock = Arc::clone(&mutex);
        let looping = place.spawn(move || async move {
            let futures = futures::stream::iter(0..6).map(|_| async {
                let mut guard = lock.lock().await;
                *guard += 1;
                yield_now().await;
            });
            let mut stream = pin!(futures.buffered(3));
            while stream.next().await.is_some() {
                // Futures of the stream wait in the line before it, and are not polled here.
                *lock.lock().await += 10;
            }
        });
        looping.await?;
        assert_eq!(*mutex.lock().await, 66);
        Ok(())
    });
}

#[test]
fn r13_futures_of_a_set_that_are_polled_later_and_cancelled_tasks_are_no_findings() {
    let (builder, reports) = Reports::collect(Builder::new().domains(1));
    let run = run_with(builder, || async {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let lock = |_| async { *mutex.lock().await += 1 };
        let mut locks: FuturesUnordered<_> = (0..500).map(lock).collect();
        let lock = Arc::clone(&mutex);
        let cancelled = spawn(async move {
            let done = shield(pending::<()>()).limit(Duration::ZERO);
            let _guard = lock.lock().await;
            let _ = done.await;
        });
        assert!(futures::FutureExt::now_or_never(locks.next()).is_none());
        yield_now().await;
        let cancelled = cancelled.cancel();
        drop(guard);
        while locks.next().await.is_some() {}
        cancelled.await;
        assert_eq!(*mutex.lock().await, 500);
        Ok(())
    });
    run.expect("the run succeeds");
    assert_eq!(reports.names(), Vec::<&str>::new());
}
