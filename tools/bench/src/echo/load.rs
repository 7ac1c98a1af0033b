//! Loads a server, and measures its resource use.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use matou_loadgen::process::CpuTime;
use matou_loadgen::{Generator, Plan, SystemCallCounter, pause};

use super::requests::Requests;
use super::server::Probe;
use crate::cost::Cost;

/// How long a client may wait for a server without progress.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The number of bytes that count as one operation of a stream.
const CHUNK: usize = 4096;
/// The maximum number of messages by which a client of a stream is ahead of its echo.
const CHUNKS_AHEAD: u64 = 64;

/// A kind of load.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// Each client sends messages, and waits for each echo.
    PingPong { clients: usize, bytes: usize },
    /// One client connects, sends 64 bytes, receives their echo and closes; repeatedly.
    Churn,
    /// Each client sends without waiting, up to a limit of bytes in flight.
    Stream { clients: usize },
    /// The clients are silent, then each sends one message of 64 bytes.
    Idle { clients: usize },
    /// Each client of HTTP sends a request, and waits for the response.
    Requests { clients: usize },
    /// Each client of HTTP sends one request, and is silent then.
    IdleRequests { clients: usize },
}

impl Load {
    pub(super) fn clients(self) -> usize {
        match self {
            Load::PingPong { clients, .. }
            | Load::Stream { clients }
            | Load::Idle { clients }
            | Load::Requests { clients }
            | Load::IdleRequests { clients } => clients,
            Load::Churn => 1,
        }
    }

    pub(super) fn is_http(self) -> bool {
        matches!(self, Load::Requests { .. } | Load::IdleRequests { .. })
    }

    fn plan(self) -> Plan {
        match self {
            Load::PingPong { bytes, .. } => Plan::pingpong(bytes),
            Load::Requests { .. } | Load::IdleRequests { .. } => unreachable!("not an echo"),
            Load::Churn => Plan { messages: Some(1), ..Plan::pingpong(64) },
            Load::Stream { .. } => Plan { window: CHUNKS_AHEAD, ..Plan::pingpong(CHUNK) },
            Load::Idle { .. } => Plan { messages: Some(2), hold: true, ..Plan::pingpong(64) },
        }
    }

    fn generator(self, address: SocketAddr, clients: usize) -> Result<Generator> {
        let stall_limit = STALL_LIMIT;
        let plan = self.plan();
        Generator::new(matou_loadgen::Load { address, plan, clients, stall_limit })
    }
}

/// Loads a server for `time`, after a fifth of it to warm up.
pub(super) fn measure(
    address: SocketAddr,
    load: Load,
    time: Duration,
    probe: &mut Probe,
) -> Result<Cost> {
    match load {
        Load::Idle { clients } => return measure_idle(address, load, clients, probe),
        Load::Requests { clients } => return measure_requests(address, clients, time, probe),
        Load::IdleRequests { clients } => return measure_idle_requests(address, clients, probe),
        _ => {}
    }
    let mut generator = load.generator(address, load.clients())?;
    generator.run_for(time / 5)?;
    generator.latencies().reset();
    let before = generator.counts().messages;
    let usage = Usage::now(probe)?;
    generator.run_for(time)?;
    let operations = generator.counts().messages - before;
    let has_latencies = !matches!(load, Load::Stream { .. });
    usage.cost(probe, operations, has_latencies.then(|| &*generator.latencies()))
}

/// Sends requests for `time`, after a fifth of it to warm up.
fn measure_requests(
    address: SocketAddr,
    clients: usize,
    time: Duration,
    probe: &mut Probe,
) -> Result<Cost> {
    let mut requests = Requests::new(address, clients)?;
    requests.run_for(time / 5)?;
    requests.latencies.reset();
    let before = requests.responses;
    let usage = Usage::now(probe)?;
    requests.run_for(time)?;
    usage.cost(probe, requests.responses - before, Some(&requests.latencies))
}

/// The memory per connection after a request, then the cost of one more request on each.
fn measure_idle_requests(address: SocketAddr, clients: usize, probe: &mut Probe) -> Result<Cost> {
    // One client first, so that memory allocated for the first client does not count.
    let mut first = Requests::new(address, 1)?;
    first.run_until(1)?;
    let before = probe.resident()?;
    let mut requests = Requests::new(address, clients)?;
    requests.run_round()?;
    pause(Duration::from_millis(100))?;
    let resident = probe.resident()? as f64 - before as f64;
    requests.latencies.reset();
    let usage = Usage::now(probe)?;
    requests.run_round()?;
    let cost = usage.cost(probe, clients as u64, Some(&requests.latencies))?;
    Ok(Cost { resident: Some(resident / clients as f64), ..cost })
}

/// The memory per silent connection, then the latency if all send at once.
fn measure_idle(
    address: SocketAddr,
    load: Load,
    clients: usize,
    probe: &mut Probe,
) -> Result<Cost> {
    // One client first, so that memory allocated for the first client does not count.
    load.generator(address, 1)?.run_until(|it| it.holding() == 1)?;
    let before = probe.resident()?;
    let mut generator = load.generator(address, clients)?;
    generator.run_until(|it| it.holding() == clients)?;
    // The servers release the memory that an echo needed.
    pause(Duration::from_millis(100))?;
    let resident = probe.resident()? as f64 - before as f64;
    generator.latencies().reset();
    let usage = Usage::now(probe)?;
    generator.release();
    generator.run_until(|it| it.counts().messages == 2 * clients as u64)?;
    let cost = usage.cost(probe, clients as u64, Some(generator.latencies()))?;
    Ok(Cost { resident: Some(resident / clients as f64), ..cost })
}

/// Counts the system calls of an operation while strace is attached, which slows the server down.
pub(super) fn count_system_calls(
    address: SocketAddr,
    load: Load,
    time: Duration,
    pid: u32,
) -> Result<f64> {
    if let Load::Requests { clients } = load {
        let mut requests = Requests::new(address, clients)?;
        requests.run_for(time / 5)?;
        let before = requests.responses;
        let counter = SystemCallCounter::attach(pid)?;
        requests.run_for(time)?;
        let operations = requests.responses - before;
        return Ok(counter.finish()?.total as f64 / operations as f64);
    }
    let mut generator = load.generator(address, load.clients())?;
    generator.run_for(time / 5)?;
    let before = generator.counts().messages;
    let counter = SystemCallCounter::attach(pid)?;
    generator.run_for(time)?;
    let operations = generator.counts().messages - before;
    Ok(counter.finish()?.total as f64 / operations as f64)
}

/// The resources that a server has used so far.
struct Usage {
    allocations: u64,
    cpu: CpuTime,
    at: Instant,
}

impl Usage {
    fn now(probe: &mut Probe) -> Result<Usage> {
        let allocations = probe.allocations()?;
        Ok(Usage { allocations, cpu: CpuTime::of(probe.pid)?, at: Instant::now() })
    }

    /// The cost of each operation since then.
    fn cost(
        self,
        probe: &mut Probe,
        operations: u64,
        latencies: Option<&Histogram<u64>>,
    ) -> Result<Cost> {
        let wall = self.at.elapsed();
        ensure!(operations > 0, "nothing was echoed in time");
        let (user_ns, system_ns) = CpuTime::of(probe.pid)?.since(&self.cpu, operations);
        let allocations = probe.allocations()?.saturating_sub(self.allocations);
        Ok(Cost {
            operations,
            wall_ns: wall.as_nanos() as f64 / operations as f64,
            user_ns,
            system_ns,
            allocations: allocations as f64 / operations as f64,
            p99_us: latencies.map(|it| it.value_at_quantile(0.99) as f64 / 1e3),
            ..Cost::default()
        })
    }
}
