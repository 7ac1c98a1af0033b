use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::dice::Dice;
use super::pipe::Pipe;

/// What an operation came to.
pub(super) enum Step<T> {
    Done(io::Result<T>),
    /// It has to wait: until then, or until the other side does something.
    Later(Option<Instant>),
}

/// One side of a connection.
#[derive(Default)]
pub(super) struct Side {
    /// What comes from the other side.
    pub(super) incoming: Pipe,
    reset: Option<Reset>,
    pub(super) closed: bool,
    read_ended: bool,
    write_ended: bool,
    /// Until when the network takes nothing.
    stalled: Option<Instant>,
    pub(super) nodelay: bool,
    pub(super) linger: Option<Duration>,
}

struct Reset {
    arrives: Instant,
    /// It is told once. Then reads find the end, and writes a broken pipe.
    told: bool,
}

impl Side {
    pub(super) fn check_open(&self) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the socket is closed"));
        }
        Ok(())
    }

    /// Fails if the connection is gone.
    pub(super) fn check_connected(&self, now: Instant) -> io::Result<()> {
        self.check_open()?;
        match &self.reset {
            Some(reset) if reset.arrives <= now => Err(Errno::NOTCONN.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8], now: Instant, dice: &Dice) -> Step<usize> {
        if let Err(error) = self.check_open() {
            return Step::Done(Err(error));
        }
        let arrived = self.incoming.arrived(now).min(buf.len());
        if arrived > 0 {
            let count = dice.cut(arrived);
            self.incoming.take(&mut buf[..count]);
            return Step::Done(Ok(count));
        }
        if let Some(told) = self.hear_reset(now) {
            return Step::Done(if told { Ok(0) } else { Err(Errno::CONNRESET.into()) });
        }
        if self.read_ended || self.incoming.has_ended(now) {
            return Step::Done(Ok(0));
        }
        let arrival = self.incoming.next_arrival();
        Step::Later(arrival.into_iter().chain(self.reset_arrival()).min())
    }

    /// Says whether anything may be written: the bytes go to the other side.
    pub(super) fn may_write(&mut self, now: Instant) -> Step<()> {
        if let Err(error) = self.check_open() {
            return Step::Done(Err(error));
        }
        if let Some(told) = self.hear_reset(now) {
            let errno = if told { Errno::PIPE } else { Errno::CONNRESET };
            return Step::Done(Err(errno.into()));
        }
        if self.write_ended {
            return Step::Done(Err(Errno::PIPE.into()));
        }
        match self.stalled {
            Some(until) if until > now => {
                Step::Later([until].into_iter().chain(self.reset_arrival()).min())
            }
            _ => Step::Done(Ok(())),
        }
    }

    /// Whether a reset has arrived; if so, whether it was told before.
    fn hear_reset(&mut self, now: Instant) -> Option<bool> {
        let reset = self.reset.as_mut().filter(|reset| reset.arrives <= now)?;
        Some(std::mem::replace(&mut reset.told, true))
    }

    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled = Some(until);
    }

    /// When a reset that is on its way arrives.
    pub(super) fn reset_arrival(&self) -> Option<Instant> {
        self.reset.as_ref().map(|reset| reset.arrives)
    }

    /// A reset comes to this side. What arrives after it is lost.
    pub(super) fn reset(&mut self, arrives: Instant) {
        if self.closed || self.reset.is_some() {
            return;
        }
        self.reset = Some(Reset { arrives, told: false });
        self.incoming.lose_after(arrives);
    }

    /// Ends the direction of reading.
    pub(super) fn end_reads(&mut self) {
        self.read_ended = true;
    }

    /// Ends the direction of writing. Returns false if that was done before.
    pub(super) fn end_writes(&mut self) -> bool {
        !std::mem::replace(&mut self.write_ended, true)
    }

    /// Whether a close throws the connection away instead of ending it in good order.
    pub(super) fn aborts(&self) -> bool {
        !self.incoming.is_empty() || self.linger == Some(Duration::ZERO)
    }
}
