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
pub(super) struct Pace {
    /// Whether the last turn was ended by its quantum. One that runs out of tasks needs no watch.
    cut: Cell<bool>,
    /// Whether the clock is watched.
    watched: Cell<bool>,
}

impl Pace {
    /// Called at the beginning of a turn's polls. Returns when that was, if it matters.
    #[inline]
    pub(super) fn begin(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.cut.get().then(now)
    }

    /// Called after the turn's `polls`th poll. Returns whether the turn is to end.
    #[inline]
    pub(super) fn is_over(
        &self,
        begun: Option<Instant>,
        polls: usize,
        yielded: bool,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        // fault: slow-polls-unbounded
        if !self.watched.get() || !(yielded || polls.is_multiple_of(POLLS_BETWEEN)) {
            return false;
        }
        let limit = if yielded { TURN_MAX } else { WOKEN_MAX };
        begun.is_some_and(|begun| now() - begun >= limit)
    }

    /// Called when the turn ran out of tasks.
    #[inline]
    pub(super) fn end_idle(&self) {
        self.cut.set(false);
    }

    /// Called when the turn was ended although there were tasks left: by its quantum, or because
    /// it was over.
    pub(super) fn end_cut(&self, begun: Option<Instant>, now: impl FnOnce() -> Instant) {
        self.cut.set(true);
        if let Some(begun) = begun {
            let took = now() - begun;
            let limit = if self.watched.get() { TURN_MAX } else { 2 * TURN_MAX };
            self.watched.set(took >= limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: usize = 64;

    /// A turn of so many polls, each of which takes so long. Returns how many were made.
    fn turn(pace: &Pace, clock: &Cell<Instant>, yielded: bool, poll: Duration) -> usize {
        let now = || clock.get();
        let begun = pace.begin(now);
        for polls in 1..=QUANTUM {
            clock.set(clock.get() + poll);
            if pace.is_over(begun, polls, yielded, now) {
                pace.end_cut(begun, now);
                return polls;
            }
        }
        pace.end_cut(begun, now);
        QUANTUM
    }

    #[test]
    fn slow_polls_make_short_turns_and_quick_ones_long_ones_again() {
        let (pace, clock) = (Pace::default(), Cell::new(Instant::now()));
        let (slow, quick) = (Duration::from_micros(60), Duration::from_micros(1));
        // Nothing is known of the first turn, the second one is found slow.
        assert_eq!([0; 2].map(|_| turn(&pace, &clock, true, slow)), [64, 64]);
        assert_eq!([0; 3].map(|_| turn(&pace, &clock, true, slow)), [2, 2, 2]);
        assert_eq!([0; 2].map(|_| turn(&pace, &clock, false, slow)), [16, 16]);
        assert_eq!(turn(&pace, &clock, true, quick), 64);
        assert!(!pace.watched.get());
    }

    #[test]
    fn a_domain_that_runs_out_of_tasks_asks_no_clock() {
        let pace = Pace::default();
        pace.end_idle();
        assert_eq!(pace.begin(|| unreachable!("it need not know")), None);
    }
}
