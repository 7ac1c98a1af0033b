//! One client: a state machine over a non-blocking socket.
//!
//! ```text
//!           connect             writable              last echo              server's FIN
//! Waiting ----------> Connecting -------> Exchanging -----------> Closing --------------->
//! (closed)
//!                                          |      ^
//!                  pause, or after the     v      |  pause ends, or
//!                  first echo             Paused, Holding   released
//! ```
//!
//! The client sends its FIN first and then waits for the server's, so a connection counts only if
//! both directions ended in order. The `TIME_WAIT` state therefore stays with the client. That
//! limits the rate: on loopback, Linux reuses such a port after one second
//! (`net.ipv4.tcp_tw_reuse` = 2, the default), so about 28,000 connections per second are possible.
//! A client that finds no port waits, and the wait is counted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::failure::{Failure, Kind};
use crate::generator::Counts;
use crate::payload::{self, Payload, SLICE_MAX};
use crate::workload::Plan;

/// A client and its current connection.
pub(crate) struct Client {
    /// Index of the client; determines its bytes.
    number: u64,
    /// Number of the current connection; determines its bytes too.
    connection: u64,
    pub(crate) state: State,
    stream: Option<TcpStream>,
    /// Whether the socket is registered for writability as well.
    awaits_writable: bool,
    /// Bytes of this connection that were sent, and that were received and compared.
    sent: u64,
    received: u64,
    /// Messages of this connection that were begun, and that were echoed completely.
    begun: u64,
    completed: u64,
    /// Messages on this connection: as planned, or fewer once the load is stopped.
    limit: u64,
    fin_sent: bool,
    /// When each message in flight was begun.
    begun_at: VecDeque<Instant>,
    last_progress: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected. A timer or the start of the load begins the next connection.
    Waiting,
    Connecting,
    Exchanging,
    /// Connected and silent until a timer expires.
    Paused,
    /// Connected and silent until released.
    Holding,
    /// All bytes were compared; the server's FIN is expected.
    Closing,
    Done,
}

/// The action that the generator must take after an event.
#[derive(Debug)]
pub(crate) enum Next {
    /// Wait for the next event.
    Wait,
    /// Resume the client after a pause.
    Pause(Duration),
    /// Count the client as holding.
    Hold,
    /// The connection was closed in order.
    Closed,
}

/// The state that all clients of a generator share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) epoll: OwnedFd,
    pub(crate) payload: Payload,
    pub(crate) buffer: Vec<u8>,
    pub(crate) counts: Counts,
    pub(crate) latencies: Histogram<u64>,
    pub(crate) released: bool,
}

impl Client {
    pub(crate) fn new(number: u64) -> Client {
        Client {
            number,
            connection: 0,
            state: State::Waiting,
            stream: None,
            awaits_writable: false,
            sent: 0,
            received: 0,
            begun: 0,
            completed: 0,
            limit: 0,
            fin_sent: false,
            begun_at: VecDeque::new(),
            last_progress: Instant::now(),
        }
    }

    /// Returns `true` if a message of this connection was echoed completely.
    pub(crate) fn was_answered(&self) -> bool {
        self.completed > 0
    }

    /// Starts a connection.
    pub(crate) fn connect(&mut self, address: SocketAddr, shared: &Shared) -> Result<(), Failure> {
        self.reset(&shared.plan);
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|error| self.failed("create a socket", &error.into()))?;
        match net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(self.failed("connect", &error.into())),
        }
        let events = EventFlags::IN | EventFlags::OUT;
        epoll::add(&shared.epoll, &socket, EventData::new_u64(self.number), events)
            .map_err(|error| self.failed("register", &error.into()))?;
        self.stream = Some(TcpStream::from(socket));
        self.awaits_writable = true;
        self.state = State::Connecting;
        Ok(())
    }

    /// Handles a readiness event: completes the connect, or reads once; then sends as much as the
    /// plan allows. The registration is level-triggered, so the next wait reports what is left.
    pub(crate) fn on_event(&mut self, shared: &mut Shared) -> Result<Next, Failure> {
        if self.stream.is_none() {
            return Ok(Next::Wait);
        }
        if self.state == State::Connecting {
            let stream = self.stream();
            sockopt::socket_error(stream)
                .and_then(|outcome| outcome)
                .map_err(|error| self.failed("connect", &error.into()))?;
            // With one message per connection there is nothing that the kernel could delay.
            if !shared.plan.reconnects() {
                stream.set_nodelay(true).map_err(|error| self.failed("set nodelay", &error))?;
            }
            self.last_progress = Instant::now();
            self.state = State::Exchanging;
        } else if self.receive(shared)? {
            return self.on_end();
        }
        self.proceed(shared)
    }

    /// Continues after a pause or when the clients are released.
    pub(crate) fn resume(&mut self, shared: &mut Shared) -> Result<Next, Failure> {
        if matches!(self.state, State::Paused | State::Holding) {
            self.state = State::Exchanging;
            self.last_progress = Instant::now();
            self.send_or_finish(shared)?;
        }
        Ok(Next::Wait)
    }

    /// Completes the messages that were begun, and begins no others.
    pub(crate) fn stop(&mut self, shared: &mut Shared) -> Result<Next, Failure> {
        match self.state {
            State::Connecting => self.limit = self.limit.min(1),
            State::Exchanging => {
                self.limit = self.begun.max(self.completed);
                return self.proceed(shared);
            }
            State::Paused | State::Holding => {
                self.limit = self.begun.max(self.completed);
                return self.resume(shared);
            }
            State::Waiting | State::Closing | State::Done => {}
        }
        Ok(Next::Wait)
    }

    /// Closes the socket, which also removes it from the epoll instance.
    pub(crate) fn close(&mut self, state: State) {
        self.stream = None;
        self.state = state;
    }

    /// Closes the socket with a reset, so that no `TIME_WAIT` state remains.
    pub(crate) fn abort(&mut self) {
        if let Some(stream) = &self.stream {
            // Fails only if the connection is broken, and then there is nothing to reset.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
        self.close(State::Done);
    }

    /// Returns a failure if the client has waited for the server longer than `limit`.
    pub(crate) fn stalled(&self, now: Instant, limit: Duration) -> Option<Failure> {
        let waits = matches!(self.state, State::Connecting | State::Exchanging | State::Closing);
        let silence = now.saturating_duration_since(self.last_progress);
        if !waits || silence < limit {
            return None;
        }
        let state = match self.state {
            State::Connecting => "connecting".to_string(),
            State::Closing => "waiting for the server to close".to_string(),
            _ => format!("{} bytes sent, {} echoed", self.sent, self.received),
        };
        let detail = format!("{}: no progress for {silence:.1?}; {state}", self.name());
        Some(Failure { kind: Kind::Stalled, detail })
    }

    fn reset(&mut self, plan: &Plan) {
        self.close(State::Waiting);
        self.connection += 1;
        (self.sent, self.received, self.begun, self.completed) = (0, 0, 0, 0);
        self.limit = plan.limit();
        self.fin_sent = false;
        self.begun_at.clear();
        self.last_progress = Instant::now();
        if plan.reconnects() {
            // The latency of a short connection includes the connect.
            self.begun_at.push_back(self.last_progress);
            self.begun = 1;
        }
    }

    /// Changes the state if messages were completed, then sends as much as the plan allows.
    fn proceed(&mut self, shared: &mut Shared) -> Result<Next, Failure> {
        if self.state != State::Exchanging {
            return Ok(Next::Wait);
        }
        // Clients are silent only between messages, and not once the load is stopped.
        let is_between = self.sent == self.received && self.completed == self.begun;
        if is_between && self.completed > 0 && self.completed < self.limit {
            if shared.plan.hold && self.completed == 1 && !shared.released {
                self.state = State::Holding;
                return Ok(Next::Hold);
            }
            if !shared.plan.pause.is_zero() {
                self.state = State::Paused;
                return Ok(Next::Pause(shared.plan.pause));
            }
        }
        self.send_or_finish(shared)?;
        Ok(Next::Wait)
    }

    fn send_or_finish(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.completed < self.limit {
            return self.send(shared);
        }
        self.state = State::Closing;
        self.send_fin()?;
        self.register(shared, false)
    }

    /// Sends until the plan's allowance is used up or the socket's buffer is full.
    fn send(&mut self, shared: &Shared) -> Result<(), Failure> {
        let plan = &shared.plan;
        let allowance = plan.allowance(self.completed, self.limit);
        let start = payload::start(self.number, self.connection);
        let began = Instant::now();
        let mut is_full = false;
        while self.sent < allowance && !is_full && !self.fin_sent {
            let length = (allowance - self.sent).min(SLICE_MAX as u64) as usize;
            match self.stream().write(shared.payload.slice(start, self.sent, length)) {
                Ok(n) => {
                    self.sent += n as u64;
                    self.last_progress = began;
                    is_full = n < length;
                }
                Err(error) if is_transient(&error) => is_full = true,
                Err(error) => return Err(self.failed("send", &error)),
            }
            while self.begun * plan.message_bytes < self.sent {
                self.begun += 1;
                self.begun_at.push_back(began);
            }
        }
        if plan.early_fin && self.connection % 2 == 1 && self.sent == plan.message_bytes {
            self.send_fin()?;
        }
        self.register(shared, is_full)
    }

    /// Registers for writability exactly while the socket's buffer is full.
    fn register(&mut self, shared: &Shared, writable: bool) -> Result<(), Failure> {
        if self.awaits_writable != writable {
            self.awaits_writable = writable;
            let events =
                EventFlags::IN | if writable { EventFlags::OUT } else { EventFlags::empty() };
            epoll::modify(&shared.epoll, self.stream(), EventData::new_u64(self.number), events)
                .map_err(|error| self.failed("register", &error.into()))?;
        }
        Ok(())
    }

    /// Reads once and compares. Returns `true` at the end of the stream.
    fn receive(&mut self, shared: &mut Shared) -> Result<bool, Failure> {
        let n = match self.stream().read(&mut shared.buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => n,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(self.failed("receive", &error)),
        };
        self.compare(&shared.buffer[..n], &shared.payload)?;
        self.received += n as u64;
        self.last_progress = Instant::now();
        shared.counts.bytes += n as u64;
        while (self.completed + 1) * shared.plan.message_bytes <= self.received {
            self.completed += 1;
            shared.counts.messages += 1;
            let began = self.begun_at.pop_front().expect("each message in flight has a start");
            let latency = self.last_progress - began;
            shared.latencies.saturating_record(latency.as_nanos() as u64);
        }
        Ok(false)
    }

    fn compare(&self, bytes: &[u8], payload: &Payload) -> Result<(), Failure> {
        let start = payload::start(self.number, self.connection);
        let in_flight = (self.sent - self.received).min(bytes.len() as u64) as usize;
        let detail = match payload.mismatch(start, self.received, &bytes[..in_flight]) {
            Some(at) => format!(
                "byte {} was sent as {:#04x} and came back as {:#04x}",
                self.received + at as u64,
                payload.slice(start, self.received + at as u64, 1)[0],
                bytes[at],
            ),
            None if bytes.len() > in_flight => {
                let received = self.received + bytes.len() as u64;
                format!("{} bytes sent, {received} came back", self.sent)
            }
            None => return Ok(()),
        };
        Err(Failure { kind: Kind::WrongBytes, detail: format!("{}: {detail}", self.name()) })
    }

    fn send_fin(&mut self) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.fin_sent, true) {
            let outcome = self.stream().shutdown(Shutdown::Write);
            outcome.map_err(|error| self.failed("shut down", &error))?;
        }
        Ok(())
    }

    /// The server has closed its direction.
    fn on_end(&mut self) -> Result<Next, Failure> {
        if self.state == State::Closing {
            return Ok(Next::Closed);
        }
        let (received, sent) = (self.received, self.sent);
        let detail =
            format!("{}: closed by the server after {received} of {sent} bytes", self.name());
        Err(Failure { kind: Kind::Disconnected, detail })
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("a connected client has a socket")
    }

    fn failed(&self, action: &str, error: &io::Error) -> Failure {
        let detail = format!("{}: failed to {action}: {error}", self.name());
        Failure { kind: Kind::of(error), detail }
    }

    fn name(&self) -> String {
        let local = self.stream.as_ref().and_then(|stream| stream.local_addr().ok());
        let local = local.map(|address| format!(" from {address}")).unwrap_or_default();
        format!("client {}, connection {}{local}", self.number, self.connection)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
