//! Whether a suspended task waits for one thing alone.
//!
//! A task that waits for a lock may wait for other things too: another branch of a `join!`, a
//! timeout, a future of another library. None of them knows of the others. So a task that seems to
//! wait in a circle is polled once more, with a waker of its own: each future that still waits
//! clones it. A future that was set aside is not polled and clones nothing.

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::WaitTarget;

/// A waker of a task that counts its clones.
pub(crate) struct Probe(Arc<ProbeWaker>);

struct ProbeWaker(Waker);

impl Probe {
    /// Creates a probe of the task that `waker` wakes.
    pub(crate) fn new(waker: &Waker) -> Probe {
        Probe(Arc::new(ProbeWaker(waker.clone())))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// Returns how many clones exist of the waker, itself included.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

impl Wake for ProbeWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// The suspicion that a task waits in a circle (R14).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspicion {
    /// The target of the wait when the task was suspected last, and how often in a row.
    target: Option<WaitTarget>,
    count: u32,
    /// The circle through this wait was reported.
    is_reported: bool,
    /// The next poll is a probe.
    pub(crate) is_due: bool,
    /// The last poll was a probe, and the task waits for one thing alone.
    pub(crate) is_confirmed: bool,
}

impl Suspicion {
    /// Records another suspicion. Returns whether it should be examined: each 2^n-th one for the
    /// same target, because a task that legitimately waits for itself is suspected in each poll.
    pub(crate) fn record(&mut self, target: WaitTarget) -> bool {
        if self.target != Some(target) {
            (self.target, self.count, self.is_reported) = (Some(target), 0, false);
        }
        self.count = self.count.saturating_add(1);
        !self.is_reported && self.count.is_power_of_two()
    }

    /// Returns whether the task is about to be probed, or was in its last poll.
    #[inline]
    pub(crate) fn is_examined(&self) -> bool {
        self.is_due || self.is_confirmed
    }

    /// Records that the circle through a wait for `target` is reported. It is not suspected again.
    pub(crate) fn report(&mut self, target: WaitTarget) {
        (self.target, self.is_reported) = (Some(target), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_counts_the_wakers_that_were_kept() {
        let probe = Probe::new(Waker::noop());
        let waker = probe.waker();
        drop(waker.clone());
        let kept = waker.clone();
        drop(waker);
        assert_eq!(probe.clones(), 1);
        drop(kept);
        assert_eq!(probe.clones(), 0);
    }

    #[test]
    fn a_suspicion_is_examined_less_often_each_time_and_again_for_another_target() {
        let mut suspicion = Suspicion::default();
        let mut examined = |target| suspicion.record(target);
        let first = (0..8).map(|_| examined(WaitTarget::Lock(1))).collect::<Vec<_>>();
        assert_eq!(first, [true, true, false, true, false, false, false, true]);
        assert!(examined(WaitTarget::Lock(2)) && examined(WaitTarget::Lock(1)));
        suspicion.report(WaitTarget::Lock(1));
        assert!((0..8).all(|_| !suspicion.record(WaitTarget::Lock(1))));
        assert!(suspicion.record(WaitTarget::Lock(2)));
    }
}
