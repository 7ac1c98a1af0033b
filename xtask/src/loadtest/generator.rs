//! The load generator: a few threads, each with an epoll instance and its share of the clients.
//!
//! It depends on no async runtime, so that it measures the server and never itself: what it uses is
//! plain Linux. Every wait in it is bounded, and a client that makes no progress is an error.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::client::{Client, Phase, Stage, Step};
use super::failure::{Failure, Failures, Kind};
use super::patterns::Plan;
use super::tape::{SLICE_BYTES_MAX, Tape};

/// Clients of one thread that may be on their way to their first echo. It keeps a start with
/// thousands of clients from overflowing the server's backlog, where each lost SYN costs a second.
const STARTING_MAX: usize = 64;

/// How long a client waits after a failure before it connects again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How often the threads look at the flags, and the watcher is called.
const TICK: Duration = Duration::from_millis(20);

/// How often each thread looks for stuck clients.
const STUCK_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;

/// The load to be generated.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) plan: Plan,
    pub(super) clients: usize,
    pub(super) threads: usize,
    /// How long the clients begin new messages. A plan with two acts ends with the second instead.
    pub(super) duration: Duration,
    /// How long a client may wait for the server without any progress.
    pub(super) stuck_limit: Duration,
}

/// What the threads and the watcher tell each other.
#[derive(Debug, Default)]
pub(super) struct Stagehand {
    pub(super) counters: Counters,
    /// No new messages; what is begun is finished.
    over: AtomicBool,
    /// Leave at once.
    halt: AtomicBool,
    /// The server was told to end, so cut connections are expected from now on.
    told_to_end: AtomicBool,
    second_act: AtomicBool,
    /// Clients that hold after the first act, or ended before it.
    holding: AtomicUsize,
}

impl Stagehand {
    /// Says that the server is about to be told to end. To be called before it is told.
    pub(super) fn expect_cuts(&self) {
        self.told_to_end.store(true, SeqCst);
    }

    pub(super) fn begin_second_act(&self) {
        self.second_act.store(true, SeqCst);
    }

    pub(super) fn holding(&self) -> usize {
        self.holding.load(SeqCst)
    }
}

/// Counts that are shown while the run goes on.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(super) fn add_message(&self) {
        self.messages.fetch_add(1, SeqCst);
    }

    pub(super) fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, SeqCst);
    }

    /// Connections that ended in order, messages and bytes that came back right.
    pub(super) fn read(&self) -> Counts {
        Counts {
            connections: self.connections.load(SeqCst),
            messages: self.messages.load(SeqCst),
            bytes: self.bytes.load(SeqCst),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Latencies in nanoseconds, up to an hour, to three digits.
#[derive(Debug)]
pub(super) struct Latencies(pub(super) Histogram<u64>);

const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;

impl Latencies {
    fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3);
        Latencies(histogram.expect("the bounds are within the histogram's range"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }
}

/// What came of the run.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) latencies: Latencies,
    pub(super) failures: Failures,
    /// Connections that the server cut after it was told to end.
    pub(super) cuts: Failures,
    /// Times a client had to wait since no local port was free.
    pub(super) port_waits: u64,
    /// From the start until the last client had finished.
    pub(super) elapsed: Duration,
}

/// Runs the load, and calls `watch` every few milliseconds until all clients have ended.
///
/// # Errors
///
/// Those of `watch`, which end the run at once, and those of the system that concern the generator
/// itself. Failures of connections are in the tally.
pub(super) fn generate(
    load: &Load,
    mut watch: impl FnMut(&Stagehand) -> Result<()>,
) -> Result<Tally> {
    let stagehand = Stagehand::default();
    let tape = Tape::new();
    let started = Instant::now();
    let parts = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for part in 0..load.threads {
            let (sender, stagehand, tape) = (sender.clone(), &stagehand, &tape);
            scope.spawn(move || {
                let outcome = Worker::new(load, part, stagehand, tape).and_then(Worker::run);
                // The receiver is gone only after an error, when the outcome is of no use.
                let _ = sender.send(outcome);
            });
        }
        drop(sender);
        let outcome = oversee(load, started, &stagehand, &receiver, &mut watch);
        if outcome.is_err() {
            stagehand.halt.store(true, SeqCst);
        }
        outcome
    })?;
    let mut tally = Tally {
        counts: stagehand.counters.read(),
        latencies: Latencies::new(),
        failures: Failures::default(),
        cuts: Failures::default(),
        port_waits: 0,
        elapsed: started.elapsed(),
    };
    for part in parts {
        tally.latencies.0.add(&part.latencies.0)?;
        tally.failures.merge(part.failures);
        tally.cuts.merge(part.cuts);
        tally.port_waits += part.port_waits;
    }
    Ok(tally)
}

fn oversee(
    load: &Load,
    started: Instant,
    stagehand: &Stagehand,
    receiver: &mpsc::Receiver<Result<Part>>,
    watch: &mut impl FnMut(&Stagehand) -> Result<()>,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    while parts.len() < load.threads {
        match receiver.recv_timeout(TICK) {
            Ok(part) => parts.push(part?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("a thread of the load generator is lost"),
        }
        if !load.plan.hold && started.elapsed() >= load.duration {
            stagehand.over.store(true, SeqCst);
        }
        watch(stagehand)?;
    }
    Ok(parts)
}

/// What one thread brings back.
struct Part {
    latencies: Latencies,
    failures: Failures,
    cuts: Failures,
    port_waits: u64,
}

/// One thread of the generator.
struct Worker<'a> {
    load: &'a Load,
    stagehand: &'a Stagehand,
    stage: Stage<'a>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Clients that used up their steps and have more to do.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    /// The ends of pauses.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Clients that are not done.
    active: usize,
    /// The next client that was never started, and how many wait for their first echo.
    unstarted: usize,
    starting: usize,
    is_starting: Vec<bool>,
    finishing_since: Option<Instant>,
    in_second_act: bool,
    failures: Failures,
    cuts: Failures,
    port_waits: u64,
}

impl<'a> Worker<'a> {
    fn new(
        load: &'a Load,
        part: usize,
        stagehand: &'a Stagehand,
        tape: &'a Tape,
    ) -> Result<Worker<'a>> {
        let now = Instant::now();
        let clients: Vec<Client> = (part..load.clients)
            .step_by(load.threads)
            .map(|number| Client::new(number as u64, now))
            .collect();
        let stage = Stage {
            plan: &load.plan,
            tape,
            counters: &stagehand.counters,
            latencies: Latencies::new(),
            buffer: vec![0; SLICE_BYTES_MAX],
        };
        Ok(Worker {
            load,
            stagehand,
            stage,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("failed to make an epoll")?,
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            active: clients.len(),
            unstarted: 0,
            starting: 0,
            is_ready: vec![false; clients.len()],
            is_starting: vec![false; clients.len()],
            clients,
            finishing_since: None,
            in_second_act: false,
            failures: Failures::default(),
            cuts: Failures::default(),
            port_waits: 0,
        })
    }

    fn run(mut self) -> Result<Part> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut checked = Instant::now();
        while self.active > 0 && !self.stagehand.halt.load(SeqCst) {
            self.obey_flags();
            self.start_some();
            self.end_pauses();
            for _ in 0..self.ready.len() {
                let index = self.ready.pop_front().expect("counted above");
                self.is_ready[index] = false;
                self.drive(index);
            }
            self.wait(&mut events)?;
            for event in events.drain(..) {
                self.on_event(event.data.u64() as usize);
            }
            if checked.elapsed() >= STUCK_CHECK_INTERVAL {
                checked = Instant::now();
                self.fail_the_stuck(checked);
            }
        }
        Ok(Part {
            latencies: self.stage.latencies,
            failures: self.failures,
            cuts: self.cuts,
            port_waits: self.port_waits,
        })
    }

    fn obey_flags(&mut self) {
        if self.finishing_since.is_none() && self.stagehand.over.load(SeqCst) {
            self.finishing_since = Some(Instant::now());
            self.finish_all();
        }
        if !self.in_second_act && self.stagehand.second_act.load(SeqCst) {
            self.in_second_act = true;
            for index in 0..self.clients.len() {
                self.clients[index].resume();
                self.drive(index);
            }
        }
    }

    fn finish_all(&mut self) {
        self.unstarted = self.clients.len();
        for index in 0..self.clients.len() {
            let was_done = self.clients[index].phase() == Phase::Done;
            self.clients[index].finish();
            if self.clients[index].phase() != Phase::Done {
                self.drive(index);
            } else if !was_done {
                self.active -= 1;
            }
        }
    }

    fn end_pauses(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, index))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            match self.clients[index].phase() {
                Phase::Waiting => self.connect(index),
                Phase::Resting => {
                    self.clients[index].resume();
                    self.drive(index);
                }
                // The run ended meanwhile.
                _ => {}
            }
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> Result<()> {
        let mut timeout = if self.ready.is_empty() { TICK } else { Duration::ZERO };
        if let Some(Reverse((at, _))) = self.timers.peek() {
            timeout = timeout.min(at.saturating_duration_since(Instant::now()));
        }
        let timeout = Timespec::try_from(timeout).expect("a tick fits");
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("failed to wait for events"),
        }
    }

    fn on_event(&mut self, index: usize) {
        match self.clients[index].notice(&self.load.plan) {
            Ok(()) => self.drive(index),
            Err(failure) => self.fail(index, failure),
        }
    }

    fn connect(&mut self, index: usize) {
        let Worker { load, epoll, clients, .. } = self;
        let outcome = clients[index].connect(load.address, epoll, index as u64, &load.plan);
        if let Err(failure) = outcome {
            self.fail(index, failure);
        }
    }

    fn drive(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.drive(&mut self.stage) {
            Ok(Step::Blocked) => {}
            // An event may have brought the client here while it is in the queue already.
            Ok(Step::Again) if self.is_ready[index] => {}
            Ok(Step::Again) => {
                self.is_ready[index] = true;
                self.ready.push_back(index);
            }
            Ok(Step::Rest(pause)) => self.timers.push(Reverse((Instant::now() + pause, index))),
            Ok(Step::Hold) => {
                self.stagehand.holding.fetch_add(1, SeqCst);
            }
            Ok(Step::Closed) => return self.on_closed(index),
            Err(failure) => return self.fail(index, failure),
        }
        if self.clients[index].was_answered() {
            self.note_started(index);
        }
    }

    fn on_closed(&mut self, index: usize) {
        self.stagehand.counters.connections.fetch_add(1, SeqCst);
        self.note_started(index);
        if self.load.plan.churns() && self.finishing_since.is_none() {
            self.connect(index);
        } else {
            self.retire(index);
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let kind = failure.kind;
        // Read after the failure was seen: the flag is set before the server is told.
        let told_to_end = self.stagehand.told_to_end.load(SeqCst);
        let was_holding = self.clients[index].phase() == Phase::Holding;
        self.note_started(index);
        if kind == Kind::NoFreePort && !self.load.plan.hold {
            self.port_waits += 1;
        } else if kind.is_cut() && told_to_end {
            self.cuts.add(failure);
        } else {
            self.failures.add(failure);
        }
        if kind == Kind::WrongByte {
            // Nothing that follows can make the run right again.
            self.stagehand.halt.store(true, SeqCst);
        }
        if told_to_end || self.finishing_since.is_some() || self.load.plan.hold {
            if self.load.plan.hold && !was_holding && !self.in_second_act {
                // So that the watcher does not wait for it.
                self.stagehand.holding.fetch_add(1, SeqCst);
            }
            return self.retire(index);
        }
        self.clients[index].drop_connection(Phase::Waiting);
        self.timers.push(Reverse((Instant::now() + RETRY_PAUSE, index)));
    }

    fn retire(&mut self, index: usize) {
        assert_ne!(self.clients[index].phase(), Phase::Done);
        self.clients[index].drop_connection(Phase::Done);
        self.active -= 1;
    }

    fn fail_the_stuck(&mut self, now: Instant) {
        let limit = self.load.stuck_limit;
        // At the end even a server that moves a byte now and then must come to an end.
        let is_late = self.finishing_since.is_some_and(|since| now - since >= limit);
        let limit = if is_late { Duration::ZERO } else { limit };
        for index in 0..self.clients.len() {
            if let Some(failure) = self.clients[index].stuck(now, limit) {
                self.fail(index, failure);
            }
        }
    }

    /// Starts clients as far as the bound on beginners allows.
    fn start_some(&mut self) {
        while self.starting < STARTING_MAX && self.unstarted < self.clients.len() {
            let index = self.unstarted;
            self.unstarted += 1;
            self.starting += 1;
            self.is_starting[index] = true;
            self.connect(index);
        }
    }

    fn note_started(&mut self, index: usize) {
        if std::mem::take(&mut self.is_starting[index]) {
            self.starting -= 1;
        }
    }
}
