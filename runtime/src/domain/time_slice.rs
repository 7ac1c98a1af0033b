//! The time limit of a tick.
//!
//! The quantum limits the number of polls in a tick, so that the driver is polled regularly (R11).
//! But slow polls of a tenth of a millisecond would still make a tick of many milliseconds. So a
//! domain whose ticks are slow reads the clock between polls, and stops doing so when its ticks are
//! fast again. It reads the clock after each poll of a task that had yielded, since such tasks
//! usually compute, and after every few polls of other tasks, which may take longer together: they
//! answer events.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a tick may take when it polls tasks that had yielded.
const YIELDED_MAX: Duration = Duration::from_micros(100);
/// How long any other tick may take.
const WOKEN_MAX: Duration = Duration::from_micros(400);
/// After how many polls of other tasks the clock is read.
const POLLS_BETWEEN: usize = 16;

/// Whether the ticks of a domain are limited by the clock.
#[derive(Debug, Default)]
pub(super) struct TimeSlice {
    /// Whether the last tick ended although tasks were ready. A tick that runs out of tasks needs
    /// no limit.
    was_preempted: Cell<bool>,
    /// Whether the clock is read between polls.
    enabled: Cell<bool>,
}

impl TimeSlice {
    /// Begins the polls of a tick. Returns the time if the clock may be needed.
    #[inline]
    pub(super) fn begin(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.was_preempted.get().then(now)
    }

    /// Called after the `polls`th poll of a tick. Returns whether the tick must end.
    #[inline]
    pub(super) fn exhausted(
        &self,
        started: Option<Instant>,
        polls: usize,
        yielded: bool,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        // fault: slow-polls-unbounded
        if !self.enabled.get() || !(yielded || polls.is_multiple_of(POLLS_BETWEEN)) {
            return false;
        }
        let limit = if yielded { YIELDED_MAX } else { WOKEN_MAX };
        started.is_some_and(|started| now() - started >= limit)
    }

    /// Ends a tick that has run out of tasks.
    #[inline]
    pub(super) fn end_drained(&self) {
        self.was_preempted.set(false);
    }

    /// Ends a tick that was ended by the quantum or by the clock while tasks were ready.
    pub(super) fn end_preempted(&self, started: Option<Instant>, now: impl FnOnce() -> Instant) {
        self.was_preempted.set(true);
        if let Some(started) = started {
            let took = now() - started;
            let limit = if self.enabled.get() { YIELDED_MAX } else { 2 * YIELDED_MAX };
            self.enabled.set(took >= limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: usize = 64;

    /// Runs a tick whose polls take `poll` each. Returns the number of polls.
    fn tick(slice: &TimeSlice, clock: &Cell<Instant>, yielded: bool, poll: Duration) -> usize {
        let now = || clock.get();
        let started = slice.begin(now);
        for polls in 1..=QUANTUM {
            clock.set(clock.get() + poll);
            if slice.exhausted(started, polls, yielded, now) {
                slice.end_preempted(started, now);
                return polls;
            }
        }
        slice.end_preempted(started, now);
        QUANTUM
    }

    #[test]
    fn slow_polls_shorten_ticks_until_polls_are_fast_again() {
        let (slice, clock) = (TimeSlice::default(), Cell::new(Instant::now()));
        let (slow, quick) = (Duration::from_micros(60), Duration::from_micros(1));
        // The first tick is not measured; the second one is found to be slow.
        assert_eq!([0; 2].map(|_| tick(&slice, &clock, true, slow)), [64, 64]);
        assert_eq!([0; 3].map(|_| tick(&slice, &clock, true, slow)), [2, 2, 2]);
        assert_eq!([0; 2].map(|_| tick(&slice, &clock, false, slow)), [16, 16]);
        assert_eq!(tick(&slice, &clock, true, quick), 64);
        assert!(!slice.enabled.get());
    }

    #[test]
    fn a_domain_that_runs_out_of_tasks_does_not_read_the_clock() {
        let slice = TimeSlice::default();
        slice.end_drained();
        assert_eq!(slice.begin(|| unreachable!("the clock is not needed")), None);
    }
}
