//! The ways in which a connection can fail.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// Number of failures whose details are kept; the others are only counted.
const DETAILS_MAX: usize = 5;

/// A connection that failed.
#[derive(Debug)]
pub struct Failure {
    /// The class it is counted in.
    pub kind: Kind,
    /// A description of the failure.
    pub detail: String,
}

/// Classes of failures, as far as the caller treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Refused, reset, or closed before the whole echo arrived. Expected of a server that shuts
    /// down.
    Disconnected,
    /// No progress within the stall limit.
    Stalled,
    /// A byte differs, or more bytes came back than were sent.
    WrongBytes,
    /// No local port is free. The client retries.
    NoFreePort,
    /// Any other error of the system.
    Other,
}

impl Kind {
    pub(crate) fn of(error: &io::Error) -> Kind {
        match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => Kind::Disconnected,
            ErrorKind::AddrNotAvailable => Kind::NoFreePort,
            _ => Kind::Other,
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Disconnected => "disconnected",
            Kind::Stalled => "stalled",
            Kind::WrongBytes => "wrong bytes",
            Kind::NoFreePort => "no free port",
            Kind::Other => "other",
        }
    }
}

/// Failures counted by kind, with the details of the first ones.
#[derive(Debug, Default)]
pub struct Failures {
    counts: BTreeMap<Kind, u64>,
    details: Vec<String>,
}

impl Failures {
    pub(crate) fn add(&mut self, failure: Failure) {
        *self.counts.entry(failure.kind).or_default() += 1;
        // Wrong bytes are the most serious finding, so they come first.
        let place = if failure.kind == Kind::WrongBytes { 0 } else { self.details.len() };
        self.details.insert(place, failure.detail);
        self.details.truncate(DETAILS_MAX);
    }

    /// The number of failures.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The number of failures of one kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Names and numbers of the kinds that occurred.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(kind, &count)| (kind.name(), count))
    }

    /// Descriptions of the first failures.
    pub fn details(&self) -> &[String] {
        &self.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_wrong_bytes_come_first() {
        let mut failures = Failures::default();
        for n in 0..10 {
            failures.add(Failure { kind: Kind::Disconnected, detail: format!("reset {n}") });
        }
        failures.add(Failure { kind: Kind::WrongBytes, detail: "wrong".into() });
        assert_eq!((failures.count(Kind::Disconnected), failures.total()), (10, 11));
        assert_eq!(failures.details().len(), DETAILS_MAX);
        assert_eq!(failures.details()[0], "wrong");
    }

    #[test]
    fn refused_and_reset_connections_count_as_disconnected() {
        let kind = |errno: rustix::io::Errno| Kind::of(&errno.into());
        assert_eq!(kind(rustix::io::Errno::CONNREFUSED), Kind::Disconnected);
        assert_eq!(kind(rustix::io::Errno::PIPE), Kind::Disconnected);
        assert_eq!(kind(rustix::io::Errno::MFILE), Kind::Other);
    }
}
