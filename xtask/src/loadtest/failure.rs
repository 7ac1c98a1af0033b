//! The ways in which a connection can fail.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// Details that are kept word for word; the others are only counted.
const DETAILS_MAX: usize = 5;

/// A connection that did not go as it should.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    detail: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: String) -> Failure {
        Failure { kind, detail }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Refused,
    Reset,
    ClosedEarly,
    Stuck,
    WrongByte,
    Surplus,
    NoFreePort,
    TooManyFiles,
    Other,
}

impl Kind {
    pub(super) fn of(error: &io::Error) -> Kind {
        let too_many = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        if too_many.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            return Kind::TooManyFiles;
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Kind::Refused,
            ErrorKind::AddrNotAvailable => Kind::NoFreePort,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => Kind::Reset,
            _ => Kind::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Reset => "reset",
            Kind::ClosedEarly => "closed early",
            Kind::Stuck => "stuck",
            Kind::WrongByte => "wrong byte",
            Kind::Surplus => "surplus bytes",
            Kind::NoFreePort => "no free port",
            Kind::TooManyFiles => "too many open files",
            Kind::Other => "other",
        }
    }

    /// Whether a server that was told to end may do this to a client.
    pub(super) fn is_cut(self) -> bool {
        matches!(self, Kind::Refused | Kind::Reset | Kind::ClosedEarly)
    }
}

/// Failures by kind, with the words of the first ones.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counts: BTreeMap<Kind, u64>,
    details: Vec<String>,
}

impl Failures {
    pub(super) fn add(&mut self, failure: Failure) {
        *self.counts.entry(failure.kind).or_default() += 1;
        // A wrong byte is what the run is for, so its words come first.
        if failure.kind == Kind::WrongByte {
            self.details.insert(0, failure.detail);
        } else {
            self.details.push(failure.detail);
        }
        self.details.truncate(DETAILS_MAX);
    }

    pub(super) fn merge(&mut self, other: Failures) {
        let place =
            if other.counts.contains_key(&Kind::WrongByte) { 0 } else { self.details.len() };
        self.details.splice(place..place, other.details);
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.details.truncate(DETAILS_MAX);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    #[cfg(test)]
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(kind, &count)| (kind.name(), count))
    }

    pub(super) fn details(&self) -> &[String] {
        &self.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_the_wrong_byte_comes_first() {
        let mut failures = Failures::default();
        for n in 0..10 {
            failures.add(Failure::new(Kind::Reset, format!("reset {n}")));
        }
        failures.add(Failure::new(Kind::WrongByte, "wrong".into()));
        assert_eq!((failures.count(Kind::Reset), failures.total()), (10, 11));
        assert_eq!(failures.details().len(), DETAILS_MAX);
        assert_eq!(failures.details()[0], "wrong");
    }

    #[test]
    fn only_what_an_ending_server_may_do_is_a_cut() {
        let kind = |errno: rustix::io::Errno| Kind::of(&errno.into());
        assert!(kind(rustix::io::Errno::CONNREFUSED).is_cut());
        assert!(kind(rustix::io::Errno::CONNRESET).is_cut());
        assert!(kind(rustix::io::Errno::PIPE).is_cut());
        assert!(!kind(rustix::io::Errno::MFILE).is_cut());
        assert!(!Kind::WrongByte.is_cut() && !Kind::Surplus.is_cut() && !Kind::Stuck.is_cut());
    }
}
