//! How long a turn may take.
//!
//! The quantum bounds the polls of a turn, so that system events are looked at (R11). Polls that
//! take a tenth of a millisecond each would make a turn of many milliseconds all the same. So a
//! domain that was found slow watches the clock, and stops when it finds itself quick again. It
//! asks after each poll of a task that had yielded, which computes as a rule; after others now and
//! then, and they may take longer together: they are what the domain is there for.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a turn may take that polls tasks which had yielded.
const TURN_MAX: Duration = Duration::from_micros(100);
/// How long any turn may take.
const WOKEN_MAX: Duration = Duration::from_micros(400);
/// After how many polls of other tasks the clock is asked.
const POLLS_BETWEEN: usize = 16;

/// What a domain has learned of its turns.
#[derive(Debug, Default)]
pub(super) struct TimeSlice {
    /// Whether the last turn was ended by its quantum. One that runs out of tasks needs no watch.
    was_preempted: Cell<bool>,
    /// Whether the clock is watched.
    enabled: Cell<bool>,
}

impl TimeSlice {
    /// Called at the beginning of a turn's polls. Returns when that was, if it matters.
    #[inline]
    pub(super) fn begin(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.was_preempted.get().then(now)
    }

    /// Called after the turn's `polls`th poll. Returns whether the turn is to end.
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
        let limit = if yielded { TURN_MAX } else { WOKEN_MAX };
        started.is_some_and(|started| now() - started >= limit)
    }

    /// Called when the turn ran out of tasks.
    #[inline]
    pub(super) fn end_drained(&self) {
        self.was_preempted.set(false);
    }

    /// Called when the turn was ended although there were tasks left: by its quantum, or because
    /// it was over.
    pub(super) fn end_preempted(&self, started: Option<Instant>, now: impl FnOnce() -> Instant) {
        self.was_preempted.set(true);
        if let Some(started) = started {
            let took = now() - started;
            let limit = if self.enabled.get() { TURN_MAX } else { 2 * TURN_MAX };
            self.enabled.set(took >= limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: usize = 64;

    /// A turn of so many polls, each of which takes so long. Returns how many were made.
    fn turn(slice: &TimeSlice, clock: &Cell<Instant>, yielded: bool, poll: Duration) -> usize {
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
    fn slow_polls_make_short_turns_and_quick_ones_long_ones_again() {
        let (slice, clock) = (TimeSlice::default(), Cell::new(Instant::now()));
        let (slow, quick) = (Duration::from_micros(60), Duration::from_micros(1));
        // Nothing is known of the first turn, the second one is found slow.
        assert_eq!([0; 2].map(|_| turn(&slice, &clock, true, slow)), [64, 64]);
        assert_eq!([0; 3].map(|_| turn(&slice, &clock, true, slow)), [2, 2, 2]);
        assert_eq!([0; 2].map(|_| turn(&slice, &clock, false, slow)), [16, 16]);
        assert_eq!(turn(&slice, &clock, true, quick), 64);
        assert!(!slice.enabled.get());
    }

    #[test]
    fn a_domain_that_runs_out_of_tasks_asks_no_clock() {
        let slice = TimeSlice::default();
        slice.end_drained();
        assert_eq!(slice.begin(|| unreachable!("it need not know")), None);
    }
}
