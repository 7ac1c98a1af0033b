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

use crate::server::Hall;

/// How a client came to its end. None of it is the server's fault, hence none is a failure of the
/// task.
#[derive(Debug)]
pub(crate) enum End {
    /// It closed, and was owed nothing any more.
    Closed,
    /// It was silent for too long.
    Idle,
    /// It did not take what it was owed.
    Stuck,
    /// Its connection broke.
    Broken(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed => f.write_str("closed"),
            End::Idle => f.write_str("was silent for too long"),
            End::Stuck => f.write_str("did not read"),
            End::Broken(error) => write!(f, "broke: {error}"),
        }
    }
}

/// The task of one client: sends back what comes, until the client is done or breaks a limit.
///
/// Why not an `async fn` with a buffer? The buffer would be the client's for as long as it lives. A
/// future that is polled by hand borrows the domain's for the time of a poll, and a client that
/// is silent holds little more than its socket.
pub(crate) struct Client {
    hall: Rc<Hall>,
    stream: TcpStream,
    /// What was read and could not be sent yet. While there is any, nothing is read.
    owed: Owed,
    /// When the patience with the client ends; `None`: never.
    deadline: Option<Instant>,
    /// Wakes the task. It is set again only when it has fired, or would fire too late: a client
    /// that talks moves its deadline without touching a timer.
    alarm: Option<Sleep>,
}

/// Bytes that are to be sent.
#[derive(Default)]
struct Owed {
    bytes: Box<[u8]>,
    sent: usize,
}

impl Owed {
    fn new(bytes: &[u8]) -> Owed {
        Owed { bytes: bytes.into(), sent: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn is_settled(&self) -> bool {
        self.sent == self.bytes.len()
    }
}

impl Client {
    pub(crate) fn new(stream: TcpStream, accepted_at: Instant, hall: Rc<Hall>) -> Client {
        let deadline = accepted_at.checked_add(hall.limits.idle_timeout);
        Client { hall, stream, owed: Owed::default(), deadline, alarm: None }
    }

    /// Sends and reads until it would have to wait.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_settle(cx, now))?;
            let hall = Rc::clone(&self.hall);
            // Nobody else can hold it: nothing here waits while it is borrowed.
            let mut buffer = hall.buffer.borrow_mut();
            let count = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            self.extend(now, hall.limits.idle_timeout);
            let sent = self.send_some(cx, &buffer[..count])?;
            if sent < count {
                self.owed = Owed::new(&buffer[sent..count]);
                self.extend(now, hall.limits.write_timeout);
            }
        }
    }

    /// Sends what is owed.
    fn poll_settle(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        if self.owed.is_settled() {
            return Poll::Ready(Ok(()));
        }
        while !self.owed.is_settled() {
            let rest = self.owed.rest();
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            self.owed.sent += count;
            self.hall.counters.echoed(count);
            self.extend(now, self.hall.limits.write_timeout);
        }
        self.owed = Owed::default();
        self.extend(now, self.hall.limits.idle_timeout);
        Poll::Ready(Ok(()))
    }

    /// Sends as much as there is room for, and returns how much that was.
    fn send_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(count) => sent += count?,
                Poll::Pending => break,
            }
        }
        self.hall.counters.echoed(sent);
        Ok(sent)
    }

    fn extend(&mut self, now: Instant, patience: Duration) {
        self.deadline = now.checked_add(patience);
    }

    /// Sees to it that the task is woken at its deadline, and returns whether the alarm had to be
    /// set for that.
    fn set_alarm(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(deadline) = self.deadline else {
            self.alarm = None;
            return false;
        };
        let set_for = self.alarm.as_ref().and_then(Sleep::deadline);
        if set_for.is_some_and(|set_for| now < set_for && set_for <= deadline) {
            return false;
        }
        let alarm = self.alarm.insert(sleep_until(deadline));
        if Pin::new(alarm).poll(cx).is_ready() {
            // The deadline passed just now, and the next poll will find that out.
            cx.waker().wake_by_ref();
        }
        true
    }
}

impl Future for Client {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        let now = now();
        loop {
            match this.poll_exchange(cx, now) {
                Poll::Ready(Ok(())) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
                Poll::Pending => {}
            }
            if this.deadline.is_some_and(|deadline| deadline <= now) {
                let settled = this.owed.is_settled();
                return Poll::Ready(if settled { End::Idle } else { End::Stuck });
            }
            if !this.set_alarm(cx, now) {
                return Poll::Pending;
            }
            // Once more, so that reports say that the task reads or writes, not that it sleeps. It
            // makes no system call: the descriptor is known to have nothing.
        }
    }
}
