use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use matou_net::TcpStream;
use matou_runtime::futures::Sleep;
use matou_runtime::{now, sleep_until};

use crate::context::ServerContext;

/// Why a connection ended. None of the reasons is a fault of the server, so none is an error of the
/// task.
#[derive(Debug)]
pub(crate) enum DisconnectReason {
    /// The client closed the connection after everything was echoed.
    Closed,
    /// The client sent nothing for too long.
    IdleTimeout,
    /// The client received nothing for too long.
    WriteTimeout,
    /// An operation on the connection failed.
    Failed(io::Error),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisconnectReason::Closed => f.write_str("closed by the client"),
            DisconnectReason::IdleTimeout => f.write_str("idle timeout"),
            DisconnectReason::WriteTimeout => f.write_str("write timeout"),
            DisconnectReason::Failed(error) => error.fmt(f),
        }
    }
}

/// The task of one client: echoes what it receives until the client closes the connection or
/// exceeds a limit.
///
/// It is a hand-written future because an `async fn` would own a buffer for its whole life. This
/// future borrows the buffer of its domain during a poll, so an idle client needs little more
/// memory than its socket.
pub(crate) struct Client {
    context: Rc<ServerContext>,
    /// `None` after the client is dropped.
    stream: Option<TcpStream>,
    /// Bytes that were received and could not be sent yet. Until it is empty, nothing is read.
    pending: PendingWrite,
    /// When the current timeout expires; `None` if it never does.
    deadline: Option<Instant>,
    /// Wakes the task. The timer is set again only after it has fired, or if it would fire too
    /// late: while a client is active, the deadline moves without a timer operation.
    timer: Option<Sleep>,
}

const HAS_STREAM: &str = "a client has its stream until it is dropped";

/// Bytes to send.
#[derive(Default)]
struct PendingWrite {
    bytes: Box<[u8]>,
    sent: usize,
}

impl PendingWrite {
    fn new(bytes: &[u8]) -> PendingWrite {
        PendingWrite { bytes: bytes.into(), sent: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }
}

impl Client {
    pub(crate) fn new(
        stream: TcpStream,
        accepted_at: Instant,
        context: Rc<ServerContext>,
    ) -> Client {
        let deadline = accepted_at.checked_add(context.limits.idle_timeout);
        let (stream, pending) = (Some(stream), PendingWrite::default());
        Client { context, stream, pending, deadline, timer: None }
    }

    /// Echoes until the end of the stream.
    fn poll_echo(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx, now))?;
            let context = Rc::clone(&self.context);
            // No other client of the domain borrows the buffer: this function does not suspend.
            let mut buffer = context.buffer.borrow_mut();
            let stream = Pin::new(self.stream.as_mut().expect(HAS_STREAM));
            let count = ready!(stream.poll_read(cx, &mut buffer))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            self.restart_timeout(now, context.limits.idle_timeout);
            let sent = self.send_some(cx, &buffer[..count])?;
            if sent < count {
                self.pending = PendingWrite::new(&buffer[sent..count]);
                self.restart_timeout(now, context.limits.write_timeout);
            }
        }
    }

    /// Sends all pending bytes.
    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        if self.pending.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.pending.is_empty() {
            let stream = Pin::new(self.stream.as_mut().expect(HAS_STREAM));
            let count = ready!(stream.poll_write(cx, self.pending.rest()))?;
            self.pending.sent += count;
            self.context.counters.add_bytes(count);
            self.restart_timeout(now, self.context.limits.write_timeout);
        }
        // Frees the buffer.
        self.pending = PendingWrite::default();
        self.restart_timeout(now, self.context.limits.idle_timeout);
        Poll::Ready(Ok(()))
    }

    /// Sends bytes until the socket would block, and returns how many were sent.
    fn send_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream.as_mut().expect(HAS_STREAM);
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut *stream).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(count) => sent += count?,
                Poll::Pending => break,
            }
        }
        self.context.counters.add_bytes(sent);
        Ok(sent)
    }

    fn restart_timeout(&mut self, now: Instant, timeout: Duration) {
        self.deadline = now.checked_add(timeout);
    }

    /// Makes sure that the task is woken at its deadline. Returns `true` if the timer was set.
    fn set_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(deadline) = self.deadline else {
            self.timer = None;
            return false;
        };
        let set_for = self.timer.as_ref().and_then(Sleep::deadline);
        // A timer that fires before the deadline is kept: the task then sets it again.
        if set_for.is_some_and(|set_for| now < set_for && set_for <= deadline) {
            return false;
        }
        let timer = self.timer.insert(sleep_until(deadline));
        if Pin::new(timer).poll(cx).is_ready() {
            // The deadline has passed since `now`: the next poll observes that.
            cx.waker().wake_by_ref();
        }
        true
    }
}

impl Future for Client {
    type Output = DisconnectReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        let this = self.get_mut();
        let now = now();
        loop {
            match this.poll_echo(cx, now) {
                Poll::Ready(Ok(())) => return Poll::Ready(DisconnectReason::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(DisconnectReason::Failed(error)),
                Poll::Pending => {}
            }
            if this.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(if this.pending.is_empty() {
                    DisconnectReason::IdleTimeout
                } else {
                    DisconnectReason::WriteTimeout
                });
            }
            if !this.set_timer(cx, now) {
                return Poll::Pending;
            }
            // Poll the socket again after the timer, so that reports show the task as reading or
            // writing, not as sleeping. This makes no system call: the socket is known to block.
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.context.streams_of_cancelled.add(stream);
        }
    }
}
