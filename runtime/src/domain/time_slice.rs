//! The time limit of a tick.
//!
//! The quantum limits the number of polls in a tick, so that the driver is polled regularly (R11).
//! But polls of a few milliseconds would still make a tick of a tenth of a second. So a tick reads
//! the clock after 1, 2, 4, 8 and 16 polls, and then after every 16th. It counts again from the
//! first poll of a task that had yielded: such tasks usually compute, others answer events, so the
//! limit is lower for them. With polls of equal length a tick takes at most twice the limit, or one
//! poll.

use std::time::{Duration, Instant};

/// How long a tick may take when it polls tasks that had yielded.
const YIELDED_MAX: Duration = Duration::from_micros(100);
/// How long any other tick may take.
const WOKEN_MAX: Duration = Duration::from_micros(400);
/// At most so many polls happen between two reads of the clock.
const POLLS_BETWEEN: usize = 16;

/// The time limit of one tick.
#[derive(Debug)]
pub(super) struct TimeSlice {
    /// When the tick began; `None` if it began with a single ready task, so that the clock was not
    /// read.
    started: Option<Instant>,
    /// When it must end; `None` until that is needed.
    ends_at: Option<Instant>,
    /// After how many polls the clock is read next.
    check_at: usize,
    /// How many polls after that it is read once more.
    step: usize,
    /// Whether a task that had yielded was polled.
    yielded: bool,
    /// After how many polls the clock was read last.
    read_at: usize,
}

impl TimeSlice {
    /// The slice of a tick that the clock does not limit.
    pub(super) fn unlimited() -> TimeSlice {
        TimeSlice { check_at: usize::MAX, yielded: true, ..TimeSlice::starting(None) }
    }

    /// The slice of a tick that began at `started`.
    #[inline]
    pub(super) fn starting(started: Option<Instant>) -> TimeSlice {
        TimeSlice { started, ends_at: None, check_at: 1, step: 1, yielded: false, read_at: 0 }
    }

    /// Returns whether the clock has to be read after the `polls`th poll, of a task that had or had
    /// not yielded.
    #[inline]
    pub(super) fn is_due(&mut self, polls: usize, yielded: bool) -> bool {
        if yielded && !self.yielded {
            self.restart(polls);
        }
        polls == self.check_at
    }

    /// Begins to count again, at the first poll of a task that had yielded.
    #[inline]
    fn restart(&mut self, polls: usize) {
        (self.check_at, self.step) = (polls, 1);
        (self.ends_at, self.yielded) = (None, true);
    }

    /// Returns how many polls have happened since the clock was read, which is now.
    #[inline]
    pub(super) fn take_unread(&mut self, polls: usize) -> usize {
        polls - std::mem::replace(&mut self.read_at, polls)
    }

    /// Returns whether the tick has to end at `now`, after the `polls`th poll.
    pub(super) fn is_exhausted(&mut self, now: Instant, polls: usize, yielded: bool) -> bool {
        let limit = if yielded { YIELDED_MAX } else { WOKEN_MAX };
        let started = *self.started.get_or_insert(now);
        // Comparing two moments is much cheaper than subtracting them.
        // fault: slow-polls-unbounded
        if now >= *self.ends_at.get_or_insert_with(|| started + limit) {
            return true;
        }
        self.check_at = polls + self.step;
        self.step = (2 * self.step).min(POLLS_BETWEEN);
        false
    }

    /// Reads the clock after the next poll already.
    pub(super) fn measure_next(&mut self, polls: usize) {
        self.check_at = polls + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: usize = 64;

    /// Runs a tick whose polls take `poll` each. Returns the number of polls and of clock reads.
    fn tick(yielded: bool, poll: Duration) -> (usize, usize) {
        let start = Instant::now();
        let (mut slice, mut reads) = (TimeSlice::starting(Some(start)), 0);
        for polls in 1..=QUANTUM {
            if slice.is_due(polls, yielded) {
                reads += 1;
                if slice.is_exhausted(start + poll * polls as u32, polls, yielded) {
                    return (polls, reads);
                }
            }
        }
        (QUANTUM, reads)
    }

    #[test]
    fn r11_the_first_tick_of_slow_polls_is_short() {
        let micros = Duration::from_micros;
        assert_eq!(tick(true, micros(5000)), (1, 1));
        assert_eq!(tick(true, micros(60)), (2, 2));
        assert_eq!(tick(true, micros(20)), (8, 4));
        assert_eq!(tick(false, micros(60)), (8, 4));
        // 16 polls took 320 us, so the next read is 16 polls later.
        assert_eq!(tick(false, micros(20)), (32, 6));
    }

    #[test]
    fn fast_polls_use_the_whole_quantum_and_few_reads_of_the_clock() {
        assert_eq!(tick(true, Duration::from_nanos(100)), (QUANTUM, 8));
        assert_eq!(tick(false, Duration::from_micros(2)), (QUANTUM, 8));
    }

    #[test]
    fn a_tick_of_unknown_start_is_measured_from_its_first_poll() {
        let (mut slice, now) = (TimeSlice::starting(None), Instant::now());
        assert!(!slice.is_exhausted(now, 1, true));
        assert!(slice.is_due(2, true));
        assert!(slice.is_exhausted(now + YIELDED_MAX, 2, true));
    }
}
