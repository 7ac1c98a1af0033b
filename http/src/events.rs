//! What a server reports.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use matou_runtime::{TaskError, now};

use crate::error::BoxError;
use crate::listener::PeerAddr;

/// Something that the operator of a server may want to know; see
/// [`Serve::on_event`](crate::Serve::on_event).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A handler returned an error, panicked or violated a rule. The client received the status
    /// 500.
    HandlerFailed {
        /// The method and path of the request.
        request: &'a str,
        /// The reason.
        error: &'a TaskError<BoxError>,
    },
    /// A handler was cancelled, because it took longer than
    /// [`request_timeout`](crate::Limits::request_timeout). The client received the status 503.
    HandlerTimedOut {
        /// The method and path of the request.
        request: &'a str,
    },
    /// A client has started and reset requests faster than they could be cancelled, and lost the
    /// connection.
    ResetFlood {
        /// The client.
        peer: &'a PeerAddr,
    },
    /// The first bytes of a connection could not be read: with TLS, the handshake has failed. A
    /// client that has merely left is no event.
    Unreadable {
        /// The client.
        peer: &'a PeerAddr,
        /// The reason.
        error: &'a io::Error,
    },
    /// A client of HTTP/2 has received nothing of a response for longer than
    /// [`write_timeout`](crate::Limits::write_timeout), and lost the connection.
    StreamStalled {
        /// The client.
        peer: &'a PeerAddr,
    },
    /// The task of a connection panicked, for example in the body of a response, or violated a
    /// rule.
    ConnectionFailed {
        /// The reason.
        error: &'a TaskError,
    },
    /// The listener failed for good.
    AcceptFailed {
        /// The reason.
        error: &'a io::Error,
    },
    /// The [`drain_timeout`](crate::Limits::drain_timeout) has elapsed, and connections that were
    /// open are being cancelled.
    DrainTimedOut {
        /// How many there are.
        connections: usize,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::HandlerFailed { request, error } => {
                write!(f, "the handler of {request:?} failed: {error}")
            }
            Event::HandlerTimedOut { request } => {
                write!(f, "the handler of {request:?} was cancelled: its time limit has elapsed")
            }
            Event::ResetFlood { peer } => {
                write!(f, "closed the connection of {peer}: it resets too many requests")
            }
            Event::Unreadable { peer, error } => {
                write!(f, "the connection of {peer} has no readable beginning: {error}")
            }
            Event::StreamStalled { peer } => {
                write!(f, "closed the connection of {peer}: it receives no more of a response")
            }
            Event::ConnectionFailed { error } => write!(f, "a connection failed: {error}"),
            Event::AcceptFailed { error } => write!(f, "failed to accept connections: {error}"),
            Event::DrainTimedOut { connections } => {
                write!(
                    f,
                    "the time for the shutdown has elapsed: cancelled {connections} connections"
                )
            }
        }
    }
}

pub(crate) type Callback = Box<dyn Fn(&Event<'_>)>;

/// Passes events to the callback of the user, or prints them.
pub(crate) struct Reporter {
    callback: Option<Callback>,
    printed: Printed,
}

impl Reporter {
    pub(crate) fn new(callback: Option<Callback>) -> Reporter {
        Reporter { callback, printed: Printed::default() }
    }

    pub(crate) fn report(&self, event: &Event<'_>) {
        match &self.callback {
            Some(callback) => callback(event),
            None => self.printed.print(event),
        }
    }
}

/// How many lines are printed per second: clients must not be able to fill a disk.
const LINES_MAX: u32 = 10;

/// The lines of the current second.
#[derive(Default)]
struct Printed {
    since: Cell<Option<Instant>>,
    lines: Cell<u32>,
    omitted: Cell<u64>,
}

impl Printed {
    fn print(&self, event: &Event<'_>) {
        let Some(omitted) = self.admit(now()) else { return };
        // Standard error may be closed, which is no reason to fail.
        let mut out = io::stderr().lock();
        if omitted > 0 {
            drop(writeln!(out, "matou-http: {omitted} lines omitted"));
        }
        drop(writeln!(out, "matou-http: {event}"));
    }

    /// Returns whether a line may be printed, and how many were omitted before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let is_new = self
            .since
            .get()
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if is_new {
            self.since.set(Some(now));
            self.lines.set(0);
        }
        if self.lines.get() >= LINES_MAX {
            self.omitted.set(self.omitted.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.omitted.replace(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_ten_lines_are_printed_per_second() {
        let (printed, start) = (Printed::default(), Instant::now());
        let admitted = (0..100).filter(|_| printed.admit(start).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(printed.admit(start + Duration::from_secs(1)), Some(90));
    }
}
