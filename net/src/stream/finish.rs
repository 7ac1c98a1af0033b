//! An orderly end of a connection.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_runtime::futures::Sleep;
use matou_runtime::{IoWait, WaitSite, WakerKey, sleep};

use super::handle::StreamHandle;
use crate::access::AccessMode;
use crate::error::polled_after_completion;

/// How many bytes one read discards.
const BUFFER: usize = 4096;

/// How much input [`TcpStream::finish`](crate::TcpStream::finish) discards, and how long it waits
/// for the peer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_net::FinishLimit;
///
/// let limit = FinishLimit::new().bytes(64 << 10).time(Duration::from_secs(1));
/// assert_ne!(limit, FinishLimit::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a limit does nothing until `finish`"]
pub struct FinishLimit {
    bytes: u64,
    time: Duration,
}

impl FinishLimit {
    /// Returns the default limit: 1 MiB and 5 seconds.
    pub const fn new() -> FinishLimit {
        FinishLimit { bytes: 1 << 20, time: Duration::from_secs(5) }
    }

    /// Sets how many bytes are discarded at most.
    pub const fn bytes(self, bytes: u64) -> FinishLimit {
        FinishLimit { bytes, ..self }
    }

    /// Sets how long the end takes at most.
    pub const fn time(self, time: Duration) -> FinishLimit {
        FinishLimit { time, ..self }
    }
}

impl Default for FinishLimit {
    fn default() -> FinishLimit {
        FinishLimit::new()
    }
}

/// How a connection ended; returned by [`TcpStream::finish`](crate::TcpStream::finish).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The peer has ended its stream too. Everything that was written is delivered, unless the
    /// network fails.
    Closed,
    /// The peer has reset the connection, which may have discarded a part of what was written.
    Reset,
    /// A limit was reached first. The peer may lose what it has not read yet.
    LimitReached,
}

/// The future of [`TcpStream::finish`](crate::TcpStream::finish).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Finish {
    /// `None` once the future is ready.
    stream: Option<StreamHandle>,
    is_shut_down: bool,
    /// How many more bytes are discarded.
    bytes: u64,
    timer: Sleep,
    key: WakerKey,
    at: &'static Location<'static>,
}

impl Finish {
    #[track_caller]
    pub(super) fn new(stream: StreamHandle, limit: FinishLimit) -> Finish {
        Finish {
            stream: Some(stream),
            is_shut_down: false,
            bytes: limit.bytes,
            timer: sleep(limit.time),
            key: WakerKey::new(),
            at: Location::caller(),
        }
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ending>> {
        let Some(stream) = &self.stream else { polled_after_completion("`Finish`", self.at) };
        ready!(AccessMode::Exclusive.poll_check(stream, self.at))?;
        if !self.is_shut_down {
            stream.backend().shutdown(Shutdown::Write)?;
            self.is_shut_down = true;
        }
        let mut buf = [0; BUFFER];
        while self.bytes > 0 {
            let len = self.bytes.min(BUFFER as u64) as usize;
            let wait = IoWait::new(WaitSite::new("finish", self.at), Some(&mut self.key));
            match stream.backend().poll_recv(&mut buf[..len], wait, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Ending::Closed)),
                Poll::Ready(Ok(count)) => self.bytes -= count as u64,
                Poll::Ready(Err(error)) if is_reset(&error) => {
                    return Poll::Ready(Ok(Ending::Reset));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(Pin::new(&mut self.timer).poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(Ending::LimitReached))
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

impl Future for Finish {
    type Output = io::Result<Ending>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let ending = ready!(this.poll_ending(cx));
        // This closes the stream, and with it all waits.
        this.stream = None;
        Poll::Ready(ending)
    }
}
