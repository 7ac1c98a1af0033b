use std::fmt;
use std::time::Duration;

use crate::task::TaskId;

/// Something that happened in a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A task was polled.
    Polled(TaskId),
    /// A task is over, and its parent told.
    Ended(TaskId),
    /// A message of this kind was taken in.
    Received(&'static str),
    /// So many timers fired.
    TimersFired(usize),
    /// There was nothing to do, and the clock jumped.
    ClockJumped,
    /// What a leaf future of another crate says.
    Noted(&'static str, u64),
}

/// An event of a simulated run: what happened, when, on which domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub(super) at: Duration,
    pub(super) domain: usize,
    pub(super) happening: Happening,
}

impl Event {
    /// Returns how much virtual time had passed.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Returns the domain on which it happened.
    pub fn domain(&self) -> usize {
        self.domain
    }

    /// Adds the event to the hash of a run.
    ///
    /// Each word is mixed as in FNV-1a (Fowler, Noll, Vo), but whole; good enough to tell two runs
    /// apart, and the same on every machine.
    pub(super) fn hash(&self, hash: u64) -> u64 {
        let word =
            |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        let text =
            |hash, text: &str| text.bytes().fold(hash, |hash, byte| word(hash, u64::from(byte)));
        let hash = word(word(hash, self.at.as_nanos() as u64), self.domain as u64);
        match self.happening {
            Happening::Polled(id) => word(word(hash, 1), id.as_u64()),
            Happening::Ended(id) => word(word(hash, 2), id.as_u64()),
            Happening::Received(kind) => text(word(hash, 3), kind),
            Happening::TimersFired(count) => word(word(hash, 4), count as u64),
            Happening::ClockJumped => word(hash, 5),
            Happening::Noted(what, number) => word(text(word(hash, 6), what), number),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} domain {}: ", format!("{:?}", self.at), self.domain)?;
        match self.happening {
            Happening::Polled(id) => write!(f, "polls task {id}"),
            Happening::Ended(id) => write!(f, "task {id} is complete"),
            Happening::Received(kind) => write!(f, "receives a message: {kind}"),
            Happening::TimersFired(1) => f.write_str("a timer fires"),
            Happening::TimersFired(count) => write!(f, "{count} timers fire"),
            Happening::ClockJumped => f.write_str("idle, the clock advances"),
            Happening::Noted(what, number) => write!(f, "{what} {number}"),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
