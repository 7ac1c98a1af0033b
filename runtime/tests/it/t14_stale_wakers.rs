//! Goal: a descriptor on which nothing happens does not gather wakers (SCENARIOS T14).
//! Method: tries with a new waker each, as `FuturesUnordered` makes one for each future put into
//! it, on a connection that stays quiet; and many who really wait at the same time.

use std::future::poll_fn;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Context;

use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::{Direction, IoSource, WaitSite, yield_now};

use crate::support::{WakeCounter, run_on};

#[test]
fn t14_a_quiet_descriptor_keeps_a_bounded_number_of_stale_wakers() {
    const TRIES: usize = 10_000;
    const KEPT_MAX: usize = 1_024;
    run_on(1, || async {
        let (ours, _theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let io = IoSource::new(OwnedFd::from(ours));
        let mut wakers = Vec::new();
        for _ in 0..TRIES {
            let counter = WakeCounter::new();
            wakers.push(Arc::downgrade(&counter));
            let waker = counter.into();
            let mut cx = Context::from_waker(&waker);
            let tried = io.poll(Direction::Read, WaitSite::here("read"), &mut cx, |fd| {
                Ok(rustix::io::read(fd, &mut [0])?)
            });
            assert!(tried.is_pending());
            yield_now().await;
        }
        let kept = wakers.iter().filter(|counter| counter.strong_count() > 0).count();
        assert!(kept <= KEPT_MAX, "{kept} wakers of {TRIES} are kept");
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn t14_many_who_really_wait_with_wakers_of_their_own_are_all_woken() {
    const WAITERS: usize = 500;
    run_on(1, || async {
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let io = IoSource::new(OwnedFd::from(ours));
        let mut waiters: FuturesUnordered<_> = (0..WAITERS)
            .map(|_| {
                let io = Arc::clone(&io);
                poll_fn(move |cx| {
                    io.poll(Direction::Read, WaitSite::here("read"), cx, |fd| {
                        Ok(rustix::io::read(fd, &mut [0])?)
                    })
                })
            })
            .collect();
        assert!(futures::poll!(waiters.next()).is_pending());
        theirs.write_all(&[7; WAITERS])?;
        let mut served = 0;
        while let Some(count) = waiters.next().await {
            served += count?;
        }
        assert_eq!(served, WAITERS);
        io.close();
        Ok(())
    })
    .unwrap();
}
