use std::fmt;
use std::time::Duration;

use crate::task::TaskId;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A task was polled.
    TaskPolled(TaskId),
    /// A task completed, and its parent was notified.
    TaskCompleted(TaskId),
    /// A message of this kind was received.
    MessageReceived(&'static str),
    /// This number of timers fired.
    TimersFired(usize),
    /// No domain had work, and the clock advanced to the next deadline or message.
    ClockAdvanced,
    /// A leaf future of another crate recorded an event.
    Custom(&'static str, u64),
}

/// An event of a simulated run: its kind, its time and its domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    at: Duration,
    domain: usize,
    kind: EventKind,
}

impl Event {
    pub(super) fn new(at: Duration, domain: usize, kind: EventKind) -> Event {
        Event { at, domain, kind }
    }

    /// Returns the virtual time since the start of the run.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Returns the domain on which it happened.
    pub fn domain(&self) -> usize {
        self.domain
    }

    /// Adds the event to the hash of a run.
    ///
    /// Each word is mixed as FNV-1a (Fowler, Noll, Vo) mixes a byte. This suffices to distinguish
    /// two runs, and yields the same hash on every machine.
    pub(super) fn hash(&self, hash: u64) -> u64 {
        let word =
            |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        let text =
            |hash, text: &str| text.bytes().fold(hash, |hash, byte| word(hash, u64::from(byte)));
        let hash = word(word(hash, self.at.as_nanos() as u64), self.domain as u64);
        match self.kind {
            EventKind::TaskPolled(id) => word(word(hash, 1), id.as_u64()),
            EventKind::TaskCompleted(id) => word(word(hash, 2), id.as_u64()),
            EventKind::MessageReceived(kind) => text(word(hash, 3), kind),
            EventKind::TimersFired(count) => word(word(hash, 4), count as u64),
            EventKind::ClockAdvanced => word(hash, 5),
            EventKind::Custom(name, number) => word(text(word(hash, 6), name), number),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} domain {}: ", format!("{:?}", self.at), self.domain)?;
        match self.kind {
            EventKind::TaskPolled(id) => write!(f, "polls task {id}"),
            EventKind::TaskCompleted(id) => write!(f, "task {id} is complete"),
            EventKind::MessageReceived(kind) => write!(f, "receives a message: {kind}"),
            EventKind::TimersFired(1) => f.write_str("a timer fires"),
            EventKind::TimersFired(count) => write!(f, "{count} timers fire"),
            EventKind::ClockAdvanced => f.write_str("idle, the clock advances"),
            EventKind::Custom(name, number) => write!(f, "{name} {number}"),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
