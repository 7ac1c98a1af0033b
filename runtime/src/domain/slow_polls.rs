//! Reading the clock between polls: to end a tick in time, and to find slow polls (R11).

use std::time::Instant;

use super::Domain;
use super::poll_clock::SlowPolls;
use super::run_queue::Next;
use super::time_slice::TimeSlice;
use crate::diagnostic::{Finding, TaskInfo};
use crate::task::{BlockedOn, Slot};

impl Domain {
    /// Begins the time slice of a tick. The clock is read only if several tasks are ready, and not
    /// again if it was read since the last poll.
    #[inline]
    pub(super) fn begin_slice(&self) -> TimeSlice {
        if self.simulation.is_some() {
            // A simulated tick must not depend on how fast this machine is.
            return TimeSlice::unlimited();
        }
        let started = self.poll_clock.current().or_else(|| {
            let is_needed = self.scheduler.has_several_ready() || self.poll_clock.is_overdue();
            is_needed.then(|| self.read_clock())
        });
        TimeSlice::starting(started)
    }

    /// Reads the clock after the `polls`th poll of a tick. Returns whether the time slice is used
    /// up. A tick that runs out of tasks needs no limit.
    pub(super) fn is_preempted(&self, slice: &mut TimeSlice, polls: usize, polled: Next) -> bool {
        if !self.scheduler.has_ready() {
            return false;
        }
        self.poll_clock.record_polls(slice.take_unread(polls), polled.slot);
        let is_exhausted = slice.is_exhausted(self.read_clock(), polls, polled.yielded);
        if self.poll_clock.measures_next() {
            slice.measure_next(polls);
        }
        is_exhausted
    }

    /// Ends a time slice after the `polls`th poll, which was that of `last`.
    #[inline]
    pub(super) fn end_slice(&self, slice: &mut TimeSlice, polls: usize, last: Slot) {
        let unread = slice.take_unread(polls);
        if unread > 0 {
            self.poll_clock.record_polls(unread, last);
        }
    }

    /// Returns the time for the timers of a tick: that of the last read, if no task was polled
    /// since.
    #[inline]
    pub(super) fn tick_time(&self) -> Instant {
        self.poll_clock.current().unwrap_or_else(|| self.read_clock())
    }

    /// Returns roughly the current time, without a call of the driver.
    pub(crate) fn recent_time(&self) -> Instant {
        self.poll_clock.last_read().unwrap_or_else(Instant::now)
    }

    /// Reads the clock, and reports the polls since the last read if they took too long.
    pub(super) fn read_clock(&self) -> Instant {
        let now = self.now();
        if self.simulation.is_none()
            && let Some(slow) = self.poll_clock.record_read(now)
        {
            self.report_slow_polls(slow);
        }
        now
    }

    /// Reads the clock before the domain is parked, if tasks were polled since the last read.
    pub(super) fn close_window(&self) {
        if self.poll_clock.has_open_window() {
            self.read_clock();
        }
        self.poll_clock.record_park();
    }

    /// Reports polls, after which no other task was polled. Of several ones it is not known which
    /// took so long; the next ones are measured one by one.
    #[cold]
    fn report_slow_polls(&self, slow: SlowPolls) {
        let SlowPolls { polls, last, took } = slow;
        // A task that has ended in that poll may be gone. Then its node still knows its line.
        let task = TaskInfo::of(&self.tree, last, self.index);
        let node = &self.tree[last];
        let is_suspended = !node.is_complete();
        let blocked_on = if is_suspended { node.blocked_on.get() } else { BlockedOn::UNKNOWN };
        self.report_finding(Finding::SlowPoll { task, took, polls, blocked_on });
    }
}
