use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The virtual time of a simulated run: one clock for all its domains.
///
/// It tells 584 years, as many nanoseconds as a `u64` counts. One thread moves it. Others (a
/// program may have some) read it when they send a message.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    nanos: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { start: Instant::now(), nanos: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    /// How much time has passed since the beginning of the run.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Whether the clock can ever tell `moment`.
    pub(super) fn reaches(&self, moment: Instant) -> bool {
        self.nanos_of(moment).is_some()
    }

    fn nanos_of(&self, moment: Instant) -> Option<u64> {
        u64::try_from(moment.saturating_duration_since(self.start).as_nanos()).ok()
    }

    /// Moves the clock to `moment`. It never goes back.
    pub(super) fn advance_to(&self, moment: Instant) {
        let nanos = self.nanos_of(moment).unwrap_or(u64::MAX);
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn advance_by(&self, duration: Duration) {
        self.advance_to(self.now() + duration);
    }
}
