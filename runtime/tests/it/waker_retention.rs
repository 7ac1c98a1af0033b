//! Goal: a future that is polled with many wakers wakes the last one and does not accumulate the
//! others (scenario T14).
//! Method: one future polled with several wakers; an idle descriptor polled with a new waker each
//! time, as `FuturesUnordered` does; and many readers that wait at the same time.

use std::future::Future;
use std::io::Write;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::{now, sleep_until, spawn, yield_now};

use crate::support::{Latch, WakeCounter, io_pair, poll_read_byte, read_byte, run_on};

/// Polls `future` with `waker`, and expects it to be pending.
fn poll_pending<F: Future>(future: Pin<&mut F>, waker: &Waker) {
    assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
}

/// Polls `future` with three wakers. Returns the first two as weak references, and the last one.
fn poll_with_three_wakers<F: Future>(
    mut future: Pin<&mut F>,
) -> (Vec<Weak<WakeCounter>>, Arc<WakeCounter>) {
    let mut early = Vec::new();
    for _ in 0..2 {
        let counter = WakeCounter::new();
        early.push(Arc::downgrade(&counter));
        poll_pending(future.as_mut(), &counter.into());
    }
    let last = WakeCounter::new();
    poll_pending(future, &last.clone().into());
    (early, last)
}

#[test]
fn t14_the_last_of_many_wakers_is_woken_and_the_others_are_dropped() {
    run_on(1, || async {
        let latch = Latch::new();
        let mut child = spawn(latch.clone());
        yield_now().await;
        let (early, last) = poll_with_three_wakers(Pin::new(&mut child));
        assert!(early.iter().all(|counter| counter.strong_count() == 0));
        latch.open();
        last.wakes.reaches(1).await;
        child.await?;

        let mut sleep = pin!(sleep_until(now() + Duration::from_millis(1)));
        let (early, last) = poll_with_three_wakers(sleep.as_mut());
        assert!(early.iter().all(|counter| counter.strong_count() == 0));
        last.wakes.reaches(1).await;
        sleep.await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn t14_an_io_source_wakes_the_last_of_many_wakers() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let counters: Vec<_> = (0..10).map(|_| WakeCounter::new()).collect();
        for counter in &counters {
            let waker = counter.clone().into();
            assert!(poll_read_byte(&io, &mut Context::from_waker(&waker)).is_pending());
        }
        peer.write_all(b"m")?;
        counters[9].wakes.reaches(1).await;
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

#[test]
fn t14_an_idle_io_source_keeps_a_bounded_number_of_stale_wakers() {
    const TRIES: usize = 10_000;
    const KEPT_MAX: usize = 64;
    run_on(1, || async {
        let (io, _peer) = io_pair();
        let mut wakers = Vec::new();
        let mut poll_with_new_waker = || {
            let counter = WakeCounter::new();
            wakers.push(Arc::downgrade(&counter));
            let waker = counter.into();
            assert!(poll_read_byte(&io, &mut Context::from_waker(&waker)).is_pending());
        };
        for _ in 0..TRIES {
            poll_with_new_waker();
            yield_now().await;
        }
        // Within a second, as many may be kept as came.
        sleep_until(now() + Duration::from_secs(1)).await;
        poll_with_new_waker();
        let kept = wakers.iter().filter(|counter| counter.strong_count() > 0).count();
        assert!(kept <= KEPT_MAX, "{kept} wakers of {TRIES} are kept");
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn t14_many_readers_with_wakers_of_their_own_are_all_woken() {
    const WAITERS: usize = 500;
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let mut waiters: FuturesUnordered<_> = (0..WAITERS)
            .map(|_| {
                let io = io.clone();
                read_byte(io)
            })
            .collect();
        assert!(futures::poll!(waiters.next()).is_pending());
        peer.write_all(&[7; WAITERS])?;
        let mut bytes = 0;
        while let Some(byte) = waiters.next().await {
            assert_eq!(byte?, 7);
            bytes += 1;
        }
        assert_eq!(bytes, WAITERS);
        io.close();
        Ok(())
    })
    .unwrap();
}
