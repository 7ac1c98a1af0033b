//! When the clock was read last, and how many tasks were polled since: to find polls that take too
//! long.
//!
//! A read of the clock before and after each poll would cost more than a short poll. The clock is
//! read in a tick as its [`TimeSlice`](super::time_slice::TimeSlice) requires, and before and after
//! the domain is parked. So the first two polls of a tick are measured one by one, and many ticks
//! have no more. If several polls together took too long, each of the next ones is measured, and a
//! task that is slow again is known; then the next ones after that are measured.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::task::{NIL, Slot};

/// At most so many polls happen without a read of the clock, in ticks that find no second task.
const UNREAD_MAX: usize = 16;
/// How many polls are measured one by one after a slow one, or after several that
/// were slow together.
const MEASURED: usize = 1024;

#[derive(Debug)]
pub(super) struct PollClock {
    /// How long a poll may take.
    limit: Duration,
    /// When the clock was read last; `None` if the domain may have been parked since.
    read_at: Cell<Option<Instant>>,
    /// The number of polls since, and the task of the last one.
    unread: Cell<usize>,
    last: Cell<Slot>,
    /// How many of the next polls are measured one by one.
    measured: Cell<usize>,
}

/// The polls between two reads of the clock that together took longer than one poll may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlowPolls {
    pub(super) polls: usize,
    /// The task of the last one.
    pub(super) last: Slot,
    pub(super) took: Duration,
}

impl PollClock {
    pub(super) fn new(limit: Duration) -> PollClock {
        PollClock {
            limit,
            read_at: Cell::new(None),
            unread: Cell::new(0),
            last: Cell::new(NIL),
            measured: Cell::new(0),
        }
    }

    /// Records polls, the last of which was that of `slot`.
    #[inline]
    pub(super) fn record_polls(&self, polls: usize, slot: Slot) {
        self.unread.set(self.unread.get() + polls);
        self.last.set(slot);
    }

    /// Records that the clock says `now`.
    #[inline]
    pub(super) fn record_read(&self, now: Instant) -> Option<SlowPolls> {
        let polls = self.unread.replace(0);
        let before = self.read_at.replace(Some(now))?;
        // Subtracting is much dearer than comparing, and nearly all reads are close together.
        let slow_at = before.checked_add(self.limit);
        if polls == 0 || slow_at.is_none_or(|slow_at| now < slow_at) {
            return None;
        }
        Some(self.slow(polls, now - before))
    }

    #[cold]
    fn slow(&self, polls: usize, took: Duration) -> SlowPolls {
        // Also after a poll that was measured alone: its task may be slow again later.
        // fault: slow-poll-stays-unknown
        self.measured.set(MEASURED);
        SlowPolls { polls, last: self.last.get(), took }
    }

    /// Records that the domain is going to be parked.
    pub(super) fn record_park(&self) {
        self.read_at.set(None);
    }

    /// Returns the time of the last read, unless a task was polled since.
    #[inline]
    pub(super) fn current(&self) -> Option<Instant> {
        self.read_at.get().filter(|_| self.unread.get() == 0)
    }

    /// Returns the time of the last read, unless the domain may have been parked since.
    #[inline]
    pub(super) fn last_read(&self) -> Option<Instant> {
        self.read_at.get()
    }

    /// Returns whether the time since the last read contains polls only.
    #[inline]
    pub(super) fn has_open_window(&self) -> bool {
        self.read_at.get().is_some() && self.unread.get() > 0
    }

    /// Returns whether the clock should be read although nothing else needs it.
    #[inline]
    pub(super) fn is_overdue(&self) -> bool {
        self.unread.get() >= UNREAD_MAX
    }

    /// Returns whether the next poll is measured alone.
    #[inline]
    pub(super) fn measures_next(&self) -> bool {
        let measured = self.measured.get();
        self.measured.set(measured.saturating_sub(1));
        measured > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[test]
    fn a_slow_poll_is_known_if_it_was_the_only_one_since_the_last_read() {
        let (clock, start) = (PollClock::new(LIMIT), Instant::now());
        assert_eq!(clock.record_read(start), None);
        clock.record_polls(1, 7);
        assert_eq!(clock.current(), None);
        let end = start + 2 * LIMIT;
        assert_eq!(clock.record_read(end), Some(SlowPolls { polls: 1, last: 7, took: 2 * LIMIT }));
        assert_eq!(clock.current(), Some(end));
        clock.record_polls(1, 7);
        assert_eq!(clock.record_read(end + LIMIT / 2), None);
    }

    #[test]
    fn after_several_polls_one_of_which_was_slow_the_next_ones_are_measured() {
        let (clock, start) = (PollClock::new(LIMIT), Instant::now());
        clock.record_read(start);
        clock.record_polls(2, 7);
        let slow = SlowPolls { polls: 2, last: 7, took: LIMIT };
        assert_eq!(clock.record_read(start + LIMIT), Some(slow));
        assert!((0..MEASURED).all(|_| clock.measures_next()));
        assert!(!clock.measures_next());
    }

    #[test]
    fn the_time_in_which_a_domain_is_parked_does_not_count() {
        let (clock, start) = (PollClock::new(LIMIT), Instant::now());
        clock.record_read(start);
        clock.record_polls(1, 7);
        assert!(clock.has_open_window());
        clock.record_park();
        assert!(!clock.has_open_window());
        assert_eq!(clock.record_read(start + 9 * LIMIT), None);
        // Nor do messages and timers, if no task was polled.
        assert_eq!(clock.record_read(start + 18 * LIMIT), None);
    }
}
