//! The timers of a domain.

use std::cell::RefCell;
use std::time::Instant;

use super::TimerTarget;
use crate::panics;
use crate::timer_queue::{TimerKey, TimerQueue};

/// The timer queue of a domain, with a buffer for the targets of expired timers.
pub(super) struct Timers {
    queue: RefCell<TimerQueue<TimerTarget>>,
    /// The targets of the timers that are firing; kept to reuse the allocation.
    expired: RefCell<Vec<TimerTarget>>,
}

impl Timers {
    pub(super) fn new(queue: TimerQueue<TimerTarget>) -> Timers {
        Timers { queue: RefCell::new(queue), expired: RefCell::default() }
    }

    #[inline]
    pub(super) fn queue(&self) -> &RefCell<TimerQueue<TimerTarget>> {
        &self.queue
    }

    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.borrow().next_deadline()
    }

    pub(super) fn insert(&self, deadline: Instant, target: TimerTarget) -> TimerKey {
        self.queue.borrow_mut().insert(deadline, target)
    }

    /// Removes a timer. Returns its target, unless it has fired; dropping a waker may run any code,
    /// which this leaves to the caller.
    pub(super) fn remove(&self, key: TimerKey) -> Option<TimerTarget> {
        self.queue.borrow_mut().remove(key)
    }

    /// Drops the timers that are left at the end of the run, whose futures were leaked.
    pub(super) fn clear(&self) {
        let targets = self.queue.borrow_mut().take_targets();
        panics::drop_each(targets);
    }

    /// Removes the timers that are due at `now`, calls `count` with their number, and then passes
    /// each target to `fire`.
    pub(super) fn expire(&self, now: Instant, count: impl Fn(usize), fire: impl Fn(TimerTarget)) {
        let mut expired = self.expired.take();
        self.queue.borrow_mut().expire(now, &mut expired);
        count(expired.len());
        expired.drain(..).for_each(fire);
        self.expired.replace(expired);
    }
}
