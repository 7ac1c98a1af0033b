//! How long a turn may take.
//!
//! The quantum bounds the polls of a turn, so that system events are looked at (R11). Polls that
//! take a tenth of a millisecond each would make a turn of many milliseconds all the same. So a
//! domain that was found slow watches the clock after each poll, which costs next to nothing beside
//! polls like that, and stops when it finds itself quick again.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a turn may take that is watched; twice as long, one that is not.
const TURN_MAX: Duration = Duration::from_micros(100);

/// What a domain has learned of its turns.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whether the last turn was ended by its quantum. One that runs out of tasks needs no watch.
    cut: Cell<bool>,
    /// Whether the clock is asked after each poll.
    watched: Cell<bool>,
}

impl Pace {
    /// Called at the beginning of a turn's polls. Returns when that was, if it matters.
    #[inline]
    pub(super) fn begin(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.cut.get().then(now)
    }

    /// Called after a poll. Returns whether the turn is to end.
    #[inline]
    pub(super) fn is_over(&self, begun: Option<Instant>, now: impl FnOnce() -> Instant) -> bool {
        self.watched.get() && begun.is_some_and(|begun| now() - begun >= TURN_MAX)
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

    /// A turn of so many polls, each of which takes so long. Returns how many were made.
    fn turn(pace: &Pace, clock: &Cell<Instant>, quantum: u32, poll: Duration) -> u32 {
        let now = || clock.get();
        let begun = pace.begin(now);
        for polls in 1..=quantum {
            clock.set(clock.get() + poll);
            if pace.is_over(begun, now) {
                pace.end_cut(begun, now);
                return polls;
            }
        }
        pace.end_cut(begun, now);
        quantum
    }

    #[test]
    fn slow_polls_make_short_turns_and_quick_ones_long_ones_again() {
        let (pace, clock) = (Pace::default(), Cell::new(Instant::now()));
        let (slow, quick) = (Duration::from_micros(60), Duration::from_micros(1));
        // Nothing is known of the first turn, the second one is found slow.
        assert_eq!([0; 2].map(|_| turn(&pace, &clock, 64, slow)), [64, 64]);
        assert_eq!([0; 3].map(|_| turn(&pace, &clock, 64, slow)), [2, 2, 2]);
        assert_eq!(turn(&pace, &clock, 64, quick), 64);
        assert!(!pace.watched.get());
    }

    #[test]
    fn a_domain_that_runs_out_of_tasks_asks_no_clock() {
        let pace = Pace::default();
        pace.end_idle();
        assert_eq!(pace.begin(|| unreachable!("it need not know")), None);
    }
}
