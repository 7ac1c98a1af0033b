use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The virtual time of a simulated run, shared by all its domains.
///
/// It counts nanoseconds in a `u64`, which is enough for 584 years. Only the thread that steps the
/// run advances it. Other threads (the program may have some) read it when they send a message.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    start: Instant,
    nanos: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn new() -> VirtualClock {
        VirtualClock { start: Instant::now(), nanos: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    /// Returns the time since the start of the run.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Returns whether the clock can represent `moment`.
    pub(crate) fn can_reach(&self, moment: Instant) -> bool {
        self.nanos_of(moment).is_some()
    }

    fn nanos_of(&self, moment: Instant) -> Option<u64> {
        u64::try_from(moment.saturating_duration_since(self.start).as_nanos()).ok()
    }

    /// Advances the clock to `moment`, or to its end. Does nothing if `moment` has passed.
    pub(crate) fn advance_to(&self, moment: Instant) {
        let nanos = self.nanos_of(moment).unwrap_or(u64::MAX);
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn advance_by(&self, duration: Duration) {
        self.advance_to(self.now() + duration);
    }
}
