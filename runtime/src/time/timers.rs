//! The deadlines of one domain.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

use crate::random::Random;

/// Names a timer that has not fired: equal deadlines are told apart by the order of their making,
/// in a simulated run by a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    pub(crate) deadline: Instant,
    tie: u32,
    count: u64,
}

/// The timers of a domain, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pending: BTreeMap<TimerKey, Waker>,
    count: u64,
    /// What the order of equal deadlines is drawn from, if it is not that of their making.
    ties: Option<Random>,
}

impl Timers {
    /// Makes timers that fire in any order if their deadlines are equal.
    pub(crate) fn drawn(ties: Random) -> Timers {
        Timers { ties: Some(ties), ..Timers::default() }
    }

    pub(crate) fn insert(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.count += 1;
        let tie = self.ties.as_ref().map_or(0, |ties| ties.next() as u32);
        let key = TimerKey { deadline, tie, count: self.count };
        self.pending.insert(key, waker);
        key
    }

    /// Takes a timer out; returns its waker unless it has fired, to be dropped outside the lock.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.pending.remove(&key)
    }

    /// The waker of a timer that has not fired.
    pub(crate) fn waker_mut(&mut self, key: TimerKey) -> Option<&mut Waker> {
        self.pending.get_mut(&key)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(key, _)| key.deadline)
    }

    /// Takes out the timers that are due at `now`, soonest first.
    pub(crate) fn expire(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().deadline > now {
                return;
            }
            wakers.push(entry.remove());
        }
    }
}
