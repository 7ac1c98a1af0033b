//! The load generator: an epoll instance and its clients, driven step by step by the caller.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::client::{Client, Next, Shared, State};
use crate::failure::{Failure, Failures, Kind};
use crate::interrupt::{Interrupted, interrupted};
use crate::payload::{Payload, SLICE_MAX};
use crate::workload::Plan;

/// Clients that may be on their way to their first echo at a time. A start with thousands of
/// clients would otherwise overflow the server's backlog, where each lost SYN costs a second.
const STARTING_MAX: usize = 64;

/// How long a client waits after a failure before it connects again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The longest that a step waits for events.
const TICK: Duration = Duration::from_millis(20);

/// How often the clients are checked for progress.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;

/// Largest latency that is recorded exactly: an hour, in nanoseconds.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// The load to generate.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The plan of each client.
    pub plan: Plan,
    /// Number of clients at a time.
    pub clients: usize,
    /// How long a client may wait for the server without any progress.
    pub stall_limit: Duration,
}

/// Connections that ended in order, and messages and bytes that were echoed correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "described above")]
pub struct Counts {
    pub connections: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// The result of a load.
#[derive(Debug)]
pub struct Totals {
    /// The successful operations.
    pub counts: Counts,
    /// Nanoseconds from the first byte sent (or the connect, for one message per connection) to the
    /// last byte received.
    pub latencies: Histogram<u64>,
    /// Connections that failed.
    pub failures: Failures,
    /// Connections that the server closed after [`Generator::expect_disconnects`].
    pub cut: Failures,
    /// Number of times a client had to wait because no local port was free.
    pub port_waits: u64,
}

/// Clients that load a server. Dropping it resets their connections.
pub struct Generator {
    load: Load,
    shared: Shared,
    clients: Vec<Client>,
    events: Vec<epoll::Event>,
    /// The ends of pauses.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Clients that are not done.
    active: usize,
    /// The next client that was never started, and how many wait for their first echo.
    unstarted: usize,
    starting: usize,
    is_starting: Vec<bool>,
    holding: usize,
    stopped_at: Option<Instant>,
    checked_at: Instant,
    disconnects_expected: bool,
    failures: Failures,
    cut: Failures,
    port_waits: u64,
}

impl Generator {
    /// Creates the clients. They connect in the first steps.
    ///
    /// # Errors
    ///
    /// If the system refuses an epoll instance.
    pub fn new(load: Load) -> Result<Generator> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let shared = Shared {
            plan: load.plan,
            epoll: epoll.context("failed to create an epoll instance")?,
            payload: Payload::new(),
            buffer: vec![0; SLICE_MAX],
            counts: Counts::default(),
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX, 3)?,
            released: false,
        };
        Ok(Generator {
            shared,
            clients: (0..load.clients as u64).map(Client::new).collect(),
            events: Vec::with_capacity(EVENTS_MAX),
            timers: BinaryHeap::new(),
            active: load.clients,
            unstarted: 0,
            starting: 0,
            is_starting: vec![false; load.clients],
            holding: 0,
            stopped_at: None,
            checked_at: Instant::now(),
            disconnects_expected: false,
            failures: Failures::default(),
            cut: Failures::default(),
            port_waits: 0,
            load,
        })
    }

    /// Waits for events, at most a few milliseconds, and handles them. Returns `false` once all
    /// clients are done, and at the first wrong byte.
    ///
    /// # Errors
    ///
    /// If the system fails to wait. Failed connections are counted in the totals instead.
    pub fn step(&mut self) -> Result<bool> {
        self.start_clients();
        self.end_pauses();
        self.wait()?;
        for index in 0..self.events.len() {
            let client = self.events[index].data.u64() as usize;
            let outcome = self.clients[client].on_event(&mut self.shared);
            self.handle(client, outcome);
        }
        if self.checked_at.elapsed() >= STALL_CHECK_INTERVAL {
            self.checked_at = Instant::now();
            self.fail_stalled();
        }
        Ok(self.active > 0 && self.failures.count(Kind::WrongBytes) == 0)
    }

    /// Runs until `done` returns `true`.
    ///
    /// # Errors
    ///
    /// If a connection fails, if all clients are done before, and if the process is interrupted.
    pub fn run_until(&mut self, mut done: impl FnMut(&Generator) -> bool) -> Result<()> {
        while !done(self) {
            let is_active = self.step()?;
            if let Some(detail) = self.failures.details().first() {
                bail!("{detail}");
            }
            if interrupted() {
                bail!(Interrupted);
            }
            anyhow::ensure!(is_active, "the clients ended too early");
        }
        Ok(())
    }

    /// Runs for `time`; otherwise as [`run_until`](Generator::run_until).
    ///
    /// # Errors
    ///
    /// As `run_until`.
    pub fn run_for(&mut self, time: Duration) -> Result<()> {
        let began = Instant::now();
        self.run_until(|_| began.elapsed() >= time)
    }

    /// Stops the load: messages that were begun are completed, no others are sent, and the
    /// connections are closed in order. Further steps are needed until all clients are done.
    pub fn stop(&mut self) {
        if self.stopped_at.is_some() {
            return;
        }
        self.stopped_at = Some(Instant::now());
        self.unstarted = self.clients.len();
        for index in 0..self.clients.len() {
            match self.clients[index].state {
                State::Done => {}
                State::Waiting => self.retire(index),
                _ => {
                    let outcome = self.clients[index].stop(&mut self.shared);
                    self.handle(index, outcome);
                }
            }
        }
    }

    /// Ends the silence of clients that hold.
    pub fn release(&mut self) {
        self.shared.released = true;
        for index in 0..self.clients.len() {
            let outcome = self.clients[index].resume(&mut self.shared);
            self.handle(index, outcome);
        }
    }

    /// Number of clients that are silent after their first echo, or failed before it.
    pub fn holding(&self) -> usize {
        self.holding
    }

    /// From now on, connections that the server closes are not failures. Must be called before the
    /// server receives the signal to shut down.
    pub fn expect_disconnects(&mut self) {
        self.disconnects_expected = true;
    }

    /// The counts of successful operations so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts
    }

    /// Latencies since the start or the last reset.
    pub fn latencies(&mut self) -> &mut Histogram<u64> {
        &mut self.shared.latencies
    }

    /// Resets all connections at once.
    pub fn abort(&mut self) {
        self.clients.iter_mut().for_each(Client::abort);
        self.active = 0;
    }

    /// Resets the connections that are left, and returns the result.
    pub fn finish(mut self) -> Totals {
        Totals {
            counts: self.shared.counts,
            latencies: self.shared.latencies.clone(),
            failures: std::mem::take(&mut self.failures),
            cut: std::mem::take(&mut self.cut),
            port_waits: self.port_waits,
        }
    }

    fn start_clients(&mut self) {
        while self.starting < STARTING_MAX && self.unstarted < self.clients.len() {
            let index = self.unstarted;
            self.unstarted += 1;
            self.starting += 1;
            self.is_starting[index] = true;
            self.connect(index);
        }
    }

    fn end_pauses(&mut self) {
        while let Some(&Reverse((at, index))) = self.timers.peek() {
            if at > Instant::now() {
                break;
            }
            self.timers.pop();
            if self.clients[index].state == State::Waiting {
                self.connect(index);
            } else if self.clients[index].state == State::Paused {
                let outcome = self.clients[index].resume(&mut self.shared);
                self.handle(index, outcome);
            }
        }
    }

    fn wait(&mut self) -> Result<()> {
        let mut timeout = TICK;
        if let Some(Reverse((at, _))) = self.timers.peek() {
            timeout = timeout.min(at.saturating_duration_since(Instant::now()));
        }
        let timeout = Timespec::try_from(timeout).expect("a tick fits");
        self.events.clear();
        match epoll::wait(&self.shared.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("failed to wait for events"),
        }
    }

    fn connect(&mut self, index: usize) {
        if let Err(failure) = self.clients[index].connect(self.load.address, &self.shared) {
            self.fail(index, failure);
        }
    }

    fn handle(&mut self, index: usize, outcome: Result<Next, Failure>) {
        match outcome {
            Ok(Next::Wait) => {}
            Ok(Next::Pause(time)) => self.timers.push(Reverse((Instant::now() + time, index))),
            Ok(Next::Hold) => self.holding += 1,
            Ok(Next::Closed) => return self.on_closed(index),
            Err(failure) => return self.fail(index, failure),
        }
        if self.clients[index].was_answered() {
            self.note_started(index);
        }
    }

    fn on_closed(&mut self, index: usize) {
        self.shared.counts.connections += 1;
        self.note_started(index);
        if self.load.plan.reconnects() && self.stopped_at.is_none() {
            self.connect(index);
        } else {
            self.retire(index);
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let was_holding = self.clients[index].state == State::Holding;
        let holds = self.load.plan.hold;
        self.note_started(index);
        match failure.kind {
            Kind::NoFreePort if !holds => self.port_waits += 1,
            Kind::Disconnected if self.disconnects_expected => self.cut.add(failure),
            _ => self.failures.add(failure),
        }
        if holds && !was_holding && !self.shared.released {
            // Counted as holding, so that the caller does not wait for it.
            self.holding += 1;
        }
        if holds || self.disconnects_expected || self.stopped_at.is_some() {
            return self.retire(index);
        }
        self.clients[index].close(State::Waiting);
        self.timers.push(Reverse((Instant::now() + RETRY_PAUSE, index)));
    }

    fn retire(&mut self, index: usize) {
        assert_ne!(self.clients[index].state, State::Done);
        self.clients[index].close(State::Done);
        self.active -= 1;
    }

    fn fail_stalled(&mut self) {
        let (now, limit) = (Instant::now(), self.load.stall_limit);
        // After the stop, a server that makes slow progress fails too.
        let is_late = self.stopped_at.is_some_and(|stopped| now - stopped >= limit);
        let limit = if is_late { Duration::ZERO } else { limit };
        for index in 0..self.clients.len() {
            if let Some(failure) = self.clients[index].stalled(now, limit) {
                self.fail(index, failure);
            }
        }
    }

    fn note_started(&mut self, index: usize) {
        if std::mem::take(&mut self.is_starting[index]) {
            self.starting -= 1;
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.abort();
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("load", &self.load).finish_non_exhaustive()
    }
}
