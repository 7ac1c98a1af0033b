//! SCENARIOS.md T14 for descriptors: not yet kept, so this module is not in `main.rs`.
//!
//! A combinator that makes a new waker for each try (as `FuturesUnordered` does for each future put
//! into it) leaves one waker behind for each, until the next event; on a quiet connection that is
//! for ever.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::sync::Arc;
use std::task::Context;

use matou_runtime::{Direction, Io, yield_now};

use super::doubles::Bell;
use super::support::run_on;

#[test]
fn t14_a_quiet_descriptor_keeps_a_bounded_number_of_stale_wakers() {
    const TRIES: usize = 10_000;
    const KEPT_MAX: usize = 1_024;
    run_on(1, || async {
        let (ours, _theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let io = Io::new(OwnedFd::from(ours));
        let mut wakers = Vec::new();
        for _ in 0..TRIES {
            let bell = Bell::silent();
            wakers.push(Arc::downgrade(&bell));
            let waker = bell.into();
            let mut cx = Context::from_waker(&waker);
            let tried = io.poll(Direction::Read, "read", Location::caller(), &mut cx, |fd| {
                Ok(rustix::io::read(fd, &mut [0])?)
            });
            assert!(tried.is_pending());
            yield_now().await;
        }
        let kept = wakers.iter().filter(|bell| bell.strong_count() > 0).count();
        assert!(kept <= KEPT_MAX, "{kept} wakers of {TRIES} are kept");
        io.close();
        Ok(())
    })
    .unwrap();
}
