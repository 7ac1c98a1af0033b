use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::fault_rng::FaultRng;
use super::stream_buffer::StreamBuffer;

/// Why an operation did not complete.
pub(super) enum Incomplete {
    Failed(io::Error),
    /// It must wait for an action of the peer, or until this moment.
    Blocked(Option<Instant>),
}

impl Incomplete {
    /// Separates the result of a completed operation from the moment until which a blocked one
    /// waits.
    pub(super) fn split<T>(
        result: Result<T, Incomplete>,
    ) -> Result<io::Result<T>, Option<Instant>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Incomplete::Failed(error)) => Ok(Err(error)),
            Err(Incomplete::Blocked(until)) => Err(until),
        }
    }
}

impl From<io::Error> for Incomplete {
    fn from(error: io::Error) -> Incomplete {
        Incomplete::Failed(error)
    }
}

/// The state of one of the two peers of a connection.
#[derive(Default)]
pub(super) struct Half {
    /// It belongs to a Unix socket.
    is_unix: bool,
    /// The bytes from the other peer.
    pub(super) incoming: StreamBuffer,
    pub(super) closed: bool,
    pub(super) nodelay: bool,
    pub(super) linger: Option<Duration>,
    reset: Option<Reset>,
    read_shut_down: bool,
    write_shut_down: bool,
    /// Until when the network accepts no bytes from this peer.
    stalled_until: Option<Instant>,
}

struct Reset {
    arrives: Instant,
    /// The first operation after its arrival reports the reset. Later reads return the end of the
    /// stream, and later writes a broken pipe.
    reported: bool,
}

impl Half {
    pub(super) fn new(is_unix: bool) -> Half {
        Half { is_unix, ..Half::default() }
    }

    pub(super) fn check_open(&self) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::new(ErrorKind::NotConnected, "the socket is closed"));
        }
        Ok(())
    }

    /// Returns whether a reset of the connection has arrived.
    pub(super) fn is_reset(&self, now: Instant) -> bool {
        self.reset_arrival().is_some_and(|arrives| arrives <= now)
    }

    /// Returns whether this peer has sent the end of its stream and received that of the other.
    pub(super) fn has_both_ends(&self, now: Instant) -> bool {
        self.write_shut_down && self.incoming.has_eof(now)
    }

    /// Returns whether bytes that arrive are answered by a reset: no one can ever read them.
    pub(super) fn refuses_bytes(&self) -> bool {
        self.closed || (self.read_shut_down && self.write_shut_down)
    }

    /// Returns whether a write by the peer of a Unix socket fails at once.
    pub(super) fn refuses_unix_bytes(&self) -> bool {
        self.closed || self.read_shut_down
    }

    pub(super) fn read(
        &mut self,
        buf: &mut [u8],
        now: Instant,
        rng: &FaultRng,
    ) -> Result<usize, Incomplete> {
        let count = self.peek(buf, now, rng)?;
        self.incoming.advance(count);
        Ok(count)
    }

    /// Copies bytes, which stay readable.
    pub(super) fn peek(
        &mut self,
        buf: &mut [u8],
        now: Instant,
        rng: &FaultRng,
    ) -> Result<usize, Incomplete> {
        self.check_open()?;
        // Bytes that arrived before a reset are still readable.
        let readable = self.incoming.readable(now).min(buf.len());
        if readable > 0 {
            let count = rng.split(readable);
            self.incoming.copy(&mut buf[..count]);
            return Ok(count);
        }
        // fault: unix-reset-behind-the-end
        if self.is_unix && self.report_reset(now) == Some(false) {
            return Err(reset_error());
        }
        // As in the system, the end of a TCP stream is final: a later reset is not reported here.
        if self.incoming.has_eof(now) {
            return Ok(0);
        }
        if let Some(reported) = self.report_reset(now) {
            return if reported { Ok(0) } else { Err(reset_error()) };
        }
        if self.read_shut_down {
            return Ok(0);
        }
        Err(self.blocked_until(self.incoming.next_arrival()))
    }

    /// Fails unless bytes can be sent to the other peer.
    pub(super) fn check_writable(&mut self, now: Instant) -> Result<(), Incomplete> {
        self.check_open()?;
        match self.report_reset(now) {
            // After the end of the peer's stream, the system reports its reset as a broken pipe.
            Some(false) if !self.incoming.has_eof(now) => return Err(reset_error()),
            Some(_) => return Err(broken_pipe()),
            None => {}
        }
        if self.write_shut_down {
            return Err(broken_pipe());
        }
        match self.stalled_until {
            Some(until) if until > now => Err(self.blocked_until(Some(until))),
            _ => Ok(()),
        }
    }

    /// Blocks until `event` or until a reset in flight arrives, whichever is first.
    pub(super) fn blocked_until(&self, event: Option<Instant>) -> Incomplete {
        Incomplete::Blocked(event.into_iter().chain(self.reset_arrival()).min())
    }

    /// Reports a reset that has arrived. Returns whether it was reported before.
    fn report_reset(&mut self, now: Instant) -> Option<bool> {
        let reset = self.reset.as_mut().filter(|reset| reset.arrives <= now)?;
        Some(std::mem::replace(&mut reset.reported, true))
    }

    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled_until = Some(until);
    }

    /// Returns when a reset arrives or has arrived.
    pub(super) fn reset_arrival(&self) -> Option<Instant> {
        self.reset.as_ref().map(|reset| reset.arrives)
    }

    /// Sends a reset to this peer. Bytes that arrive after it are lost.
    pub(super) fn reset(&mut self, arrives: Instant) {
        if self.closed || self.reset.is_some() {
            return;
        }
        self.reset = Some(Reset { arrives, reported: false });
        self.incoming.drop_after(arrives);
    }

    /// Sends the end of the stream to this peer, unless a reset has been sent.
    pub(super) fn receive_eof(&mut self, arrives: Instant) {
        if self.reset.is_none() {
            self.incoming.send_eof(arrives);
        }
    }

    pub(super) fn shut_down_reads(&mut self) {
        self.read_shut_down = true;
    }

    /// Returns `false` if writes were shut down before.
    pub(super) fn shut_down_writes(&mut self) -> bool {
        !std::mem::replace(&mut self.write_shut_down, true)
    }

    /// Returns whether a close resets the connection instead of ending the stream.
    pub(super) fn close_resets(&self) -> bool {
        let is_aborted = !self.is_unix && self.linger == Some(Duration::ZERO);
        !self.incoming.is_empty() || is_aborted
    }
}

fn reset_error() -> Incomplete {
    Incomplete::Failed(ErrorKind::ConnectionReset.into())
}

pub(super) fn broken_pipe() -> Incomplete {
    Incomplete::Failed(ErrorKind::BrokenPipe.into())
}
