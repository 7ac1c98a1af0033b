//! One client: a small state machine over a non-blocking socket.
//!
//! ```text
//!             connect            writable            all echoed            server's FIN
//!   Waiting ----------> Connecting ------> Exchanging ----------> Closing ------------> (closed)
//!                                          |        ^
//!                              a pause, or |        | its end, or
//!                          the first act's v        | the second act
//!                                end      Resting, Holding
//! ```
//!
//! How connections are closed: the client sends its FIN first, in even rounds after it compared
//! the whole echo, in odd rounds right behind the last byte it sends (as `netcat -q0` does), so
//! that the server meets both orders. It then waits for the server's FIN, so a connection counts
//! only when both directions ended in order. The price is that the `TIME_WAIT` states are the
//! client's. An abortive close cannot avoid that, since Linux enters the state when the FIN
//! arrives, before the descriptor is closed. But it is bounded: on loopback Linux reuses such a
//! port after one second (`net.ipv4.tcp_tw_reuse` = 2, its default), so 28,000 connections per
//! second are possible before ports run short, and a client that finds none waits and counts the
//! wait.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::failure::{Failure, Kind};
use super::generator::{Counters, Latencies};
use super::patterns::Plan;
use super::tape::{self, SLICE_BYTES_MAX, Tape};

/// Reads and writes of one client before the others have their turn.
const STEPS_MAX: usize = 16;

/// A client and the connection that it has at present.
pub(super) struct Client {
    /// Its place in the run, which chooses the bytes that it sends.
    number: u64,
    /// How many connections it has begun, which also chooses its bytes.
    round: u64,
    phase: Phase,
    stream: Option<TcpStream>,
    /// Bytes of this connection that were sent, and that came back and were compared.
    sent: u64,
    received: u64,
    /// Messages of this connection that were begun, and that came back whole.
    begun: u64,
    completed: u64,
    /// Messages on this connection: the plan's number, lowered when the run ends.
    limit: u64,
    half_closed: bool,
    /// When each message on the way was begun.
    began: VecDeque<Instant>,
    /// The last time something moved.
    touched: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection; a timer, or the start of the run, begins the next one.
    Waiting,
    Connecting,
    Exchanging,
    /// Connected and silent until a timer ends the pause.
    Resting,
    /// Connected and silent until the second act.
    Holding,
    /// All bytes are compared; the server's FIN is awaited.
    Closing,
    Done,
}

/// Where a client stands after it was driven.
#[derive(Debug)]
pub(super) enum Step {
    /// It waits for the socket.
    Blocked,
    /// It used up its steps and has more to do.
    Again,
    /// It rests for the plan's pause.
    Rest(Duration),
    /// It holds until the second act.
    Hold,
    /// The connection ended in order.
    Closed,
}

/// What all clients of a generator thread share.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tape: &'a Tape,
    pub(super) counters: &'a Counters,
    pub(super) latencies: Latencies,
    pub(super) buffer: Vec<u8>,
}

/// What a read brought.
enum Got {
    Nothing,
    Bytes,
    End,
}

impl Client {
    pub(super) fn new(number: u64, now: Instant) -> Client {
        Client {
            number,
            round: 0,
            phase: Phase::Waiting,
            stream: None,
            sent: 0,
            received: 0,
            begun: 0,
            completed: 0,
            limit: 0,
            half_closed: false,
            began: VecDeque::new(),
            touched: now,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a message has come back whole on this connection.
    pub(super) fn was_answered(&self) -> bool {
        self.completed > 0
    }

    /// Begins a connection and registers it, once for its life and edge-triggered.
    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        epoll: &OwnedFd,
        token: u64,
        plan: &Plan,
    ) -> Result<(), Failure> {
        self.restart(plan);
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|error| self.failed("make a socket", &error.into()))?;
        match net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(self.failed("connect", &error.into())),
        }
        let events = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(token), events)
            .map_err(|error| self.failed("register", &error.into()))?;
        self.stream = Some(TcpStream::from(socket));
        self.phase = Phase::Connecting;
        Ok(())
    }

    /// Takes note that the socket is ready in some way, and looks whether a connect succeeded.
    pub(super) fn notice(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.touched = Instant::now();
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        let stream = self.stream.as_ref().expect("a client that connects has a socket");
        sockopt::socket_error(stream)
            .and_then(|outcome| outcome)
            .map_err(|error| self.failed("connect", &error.into()))?;
        if !plan.churns() {
            stream.set_nodelay(true).map_err(|error| self.failed("set nodelay", &error))?;
        }
        self.phase = Phase::Exchanging;
        Ok(())
    }

    /// Sends, receives and compares until the socket would block or the steps are used up.
    pub(super) fn drive(&mut self, stage: &mut Stage<'_>) -> Result<Step, Failure> {
        if self.stream.is_none() || self.phase == Phase::Connecting {
            return Ok(Step::Blocked);
        }
        for _ in 0..STEPS_MAX {
            let sent = self.send(stage)?;
            let got = self.receive(stage)?;
            if matches!(got, Got::End) {
                return self.end();
            }
            if let Some(step) = self.turn_page(stage.plan)? {
                return Ok(step);
            }
            if !sent && matches!(got, Got::Nothing) {
                return Ok(Step::Blocked);
            }
        }
        Ok(Step::Again)
    }

    /// Goes on after a pause or at the second act.
    pub(super) fn resume(&mut self) {
        if matches!(self.phase, Phase::Resting | Phase::Holding) {
            self.phase = Phase::Exchanging;
            self.touched = Instant::now();
        }
    }

    /// Lowers the limit to the messages that are begun: the run is over.
    pub(super) fn finish(&mut self) {
        match self.phase {
            Phase::Waiting | Phase::Done => self.drop_connection(Phase::Done),
            Phase::Connecting => self.limit = self.limit.min(1),
            Phase::Exchanging | Phase::Resting | Phase::Holding => {
                self.limit = self.begun.max(self.completed);
                self.resume();
            }
            Phase::Closing => {}
        }
    }

    /// Closes the socket, which also takes it out of the epoll set.
    pub(super) fn drop_connection(&mut self, phase: Phase) {
        self.stream = None;
        self.phase = phase;
    }

    /// Tells whether the client waits for the server, and has for longer than `limit`.
    pub(super) fn stuck(&self, now: Instant, limit: Duration) -> Option<Failure> {
        let waits = matches!(self.phase, Phase::Connecting | Phase::Exchanging | Phase::Closing);
        let silence = now.saturating_duration_since(self.touched);
        if !waits || silence < limit {
            return None;
        }
        let state = match self.phase {
            Phase::Connecting => "connecting".to_string(),
            Phase::Closing => "waiting for the server's end of the connection".to_string(),
            _ => format!("{} bytes sent, {} came back", self.sent, self.received),
        };
        let detail = format!("{}: given up after {silence:.1?} of silence; {state}", self.name());
        Some(Failure::new(Kind::Stuck, detail))
    }

    fn restart(&mut self, plan: &Plan) {
        let now = Instant::now();
        self.drop_connection(Phase::Waiting);
        self.round += 1;
        (self.sent, self.received, self.begun, self.completed) = (0, 0, 0, 0);
        self.limit = plan.limit();
        self.half_closed = false;
        self.began.clear();
        self.touched = now;
        if plan.churns() {
            // The latency of a short connection includes its making.
            self.began.push_back(now);
            self.begun = 1;
        }
    }

    fn send(&mut self, stage: &Stage<'_>) -> Result<bool, Failure> {
        if self.phase != Phase::Exchanging || self.half_closed {
            return Ok(false);
        }
        let allowance = stage.plan.allowance(self.completed, self.limit);
        let length = allowance.saturating_sub(self.sent).min(SLICE_BYTES_MAX as u64) as usize;
        if length == 0 {
            return Ok(false);
        }
        let start = tape::start(self.number, self.round);
        let began = Instant::now();
        let mut stream = self.stream.as_ref().expect("an exchange has a socket");
        match stream.write(stage.tape.slice(start, self.sent, length)) {
            Ok(n) => self.account_sent(n as u64, began, stage.plan)?,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(self.failed("send", &error)),
        }
        Ok(true)
    }

    fn account_sent(&mut self, n: u64, began: Instant, plan: &Plan) -> Result<(), Failure> {
        self.sent += n;
        self.touched = began;
        while self.begun * plan.message_bytes < self.sent {
            self.begun += 1;
            self.began.push_back(began);
        }
        let is_odd = self.round % 2 == 1;
        if plan.churns() && is_odd && self.sent == plan.message_bytes {
            self.half_close()?;
        }
        Ok(())
    }

    fn receive(&mut self, stage: &mut Stage<'_>) -> Result<Got, Failure> {
        let mut stream = self.stream.as_ref().expect("an exchange has a socket");
        let n = match stream.read(&mut stage.buffer) {
            Ok(0) => return Ok(Got::End),
            Ok(n) => n,
            Err(error) if is_transient(&error) => return Ok(Got::Nothing),
            Err(error) => return Err(self.failed("receive", &error)),
        };
        self.compare(&stage.buffer[..n], stage.tape)?;
        self.received += n as u64;
        self.touched = Instant::now();
        stage.counters.add_bytes(n as u64);
        while (self.completed + 1) * stage.plan.message_bytes <= self.received {
            self.completed += 1;
            stage.counters.add_message();
            let began = self.began.pop_front().expect("each message was begun");
            stage.latencies.record(self.touched - began);
        }
        Ok(Got::Bytes)
    }

    fn compare(&self, got: &[u8], tape: &Tape) -> Result<(), Failure> {
        let start = tape::start(self.number, self.round);
        let on_the_way = (self.sent - self.received).min(got.len() as u64) as usize;
        if let Some(wrong) = tape.first_difference(start, self.received, &got[..on_the_way]) {
            let detail = format!(
                "{}: byte {} was sent as {:#04x} and came back as {:#04x}",
                self.name(),
                wrong.offset,
                wrong.expected,
                wrong.got,
            );
            return Err(Failure::new(Kind::WrongByte, detail));
        }
        let after = self.received + got.len() as u64;
        if got.len() > on_the_way {
            let detail = format!("{}: {} bytes sent, {after} came back", self.name(), self.sent);
            return Err(Failure::new(Kind::Surplus, detail));
        }
        Ok(())
    }

    /// Decides what follows when messages were completed.
    fn turn_page(&mut self, plan: &Plan) -> Result<Option<Step>, Failure> {
        if self.phase != Phase::Exchanging {
            return Ok(None);
        }
        if self.completed >= self.limit {
            self.half_close()?;
            self.phase = Phase::Closing;
            return Ok(None);
        }
        // A partly sent message is neither a place to rest nor one to hold.
        let is_between = self.sent == self.received && self.completed == self.begun;
        if !is_between || self.completed == 0 {
            return Ok(None);
        }
        if plan.hold && self.completed == 1 && self.phase == Phase::Exchanging {
            self.phase = Phase::Holding;
            return Ok(Some(Step::Hold));
        }
        if !plan.pause.is_zero() {
            self.phase = Phase::Resting;
            return Ok(Some(Step::Rest(plan.pause)));
        }
        Ok(None)
    }

    fn half_close(&mut self) -> Result<(), Failure> {
        if self.half_closed {
            return Ok(());
        }
        self.half_closed = true;
        let stream = self.stream.as_ref().expect("an open connection has a socket");
        stream.shutdown(Shutdown::Write).map_err(|error| self.failed("shut down", &error))
    }

    /// The server closed its direction.
    fn end(&mut self) -> Result<Step, Failure> {
        if self.phase == Phase::Closing {
            return Ok(Step::Closed);
        }
        let detail = format!(
            "{}: closed by the server after {} of {} bytes came back",
            self.name(),
            self.received,
            self.sent,
        );
        Err(Failure::new(Kind::ClosedEarly, detail))
    }

    fn failed(&self, action: &str, error: &io::Error) -> Failure {
        let detail = format!("{}: failed to {action}: {error}", self.name());
        Failure::new(Kind::of(error), detail)
    }

    fn name(&self) -> String {
        let local = self.stream.as_ref().and_then(|stream| stream.local_addr().ok());
        let local = local.map(|address| format!(" from {address}")).unwrap_or_default();
        format!("client {}, connection {}{local}", self.number, self.round)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
