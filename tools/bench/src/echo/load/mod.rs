//! The client of all servers: one thread, one epoll, every byte compared. No runtime that is
//! measured has a hand in it.

mod churn;
mod crowd;
mod pattern;
mod stream;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::process::Probe;
use crate::meter::Cost;
use crowd::Crowd;

/// How long nothing may come from a server.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of load.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// So many clients send messages of so many bytes, and each waits for its echo.
    PingPong { clients: usize, bytes: usize },
    /// Connect, one echo of 64 bytes, close.
    Churn,
    /// So many clients send without waiting, as long as the echo is not too far behind.
    Stream { clients: usize },
    /// So many clients are silent, and then all speak at once.
    Idle { clients: usize },
}

/// Loads a server for so long. The first fifth of the time warms it up and is not counted.
pub(super) fn drive(
    address: SocketAddr,
    load: Load,
    time: Duration,
    probe: &mut Probe,
) -> Result<Cost> {
    drive_between(address, load, time, probe, || Ok(()))
}

/// Loads a server, and does `begin` between the warming up and what is counted.
pub(super) fn drive_between(
    address: SocketAddr,
    load: Load,
    time: Duration,
    probe: &mut Probe,
    begin: impl FnOnce() -> Result<()>,
) -> Result<Cost> {
    match load {
        Load::PingPong { clients, bytes } => {
            let mut crowd = Crowd::connect(address, clients, bytes)?;
            crowd.send_all()?;
            crowd.play(time / 5)?;
            crowd.latencies.reset();
            begin()?;
            let bill = Bill::open(probe)?;
            let count = crowd.play(time)?;
            bill.close(probe, count, Some(&crowd.latencies))
        }
        Load::Churn => {
            let mut latencies = new_histogram()?;
            churn::churn(address, time / 5, &mut latencies)?;
            latencies.reset();
            begin()?;
            let bill = Bill::open(probe)?;
            let count = churn::churn(address, time, &mut latencies)?;
            bill.close(probe, count, Some(&latencies))
        }
        Load::Stream { clients } => {
            let mut streams = stream::Streams::connect(address, clients)?;
            streams.flow(time / 5)?;
            begin()?;
            let bill = Bill::open(probe)?;
            let bytes = streams.flow(time)?;
            bill.close(probe, bytes.div_ceil(stream::OPERATION_BYTES), None)
        }
        Load::Idle { clients } => idle(address, clients, probe),
    }
}

/// Each client has had an echo before, so what a server makes at the first one is there.
fn idle(address: SocketAddr, clients: usize, probe: &mut Probe) -> Result<Cost> {
    let mut first = Crowd::connect(address, 1, 64)?;
    first.exchange()?;
    let before = probe.resident()?;
    let mut crowd = Crowd::connect(address, clients, 64)?;
    crowd.exchange()?;
    // What is done after an echo is done by then.
    std::thread::sleep(Duration::from_millis(100));
    let resident = probe.resident()? as f64 - before as f64;
    crowd.latencies.reset();
    let bill = Bill::open(probe)?;
    crowd.exchange()?;
    let cost = bill.close(probe, clients as u64, Some(&crowd.latencies))?;
    Ok(Cost { resident: Some(resident / clients as f64), ..cost })
}

/// What a server has cost when something began.
struct Bill {
    allocations: u64,
    cpu: crate::meter::CpuTime,
    begun: Instant,
}

impl Bill {
    fn open(probe: &mut Probe) -> Result<Bill> {
        let allocations = probe.allocations()?;
        Ok(Bill { allocations, cpu: probe.cpu_time()?, begun: Instant::now() })
    }

    fn close(
        self,
        probe: &mut Probe,
        operations: u64,
        latencies: Option<&Histogram<u64>>,
    ) -> Result<Cost> {
        let wall = self.begun.elapsed();
        let (user_ns, system_ns) = probe.cpu_time()?.each_since(&self.cpu, operations);
        let allocations = probe.allocations()?.saturating_sub(self.allocations);
        anyhow::ensure!(operations > 0, "nothing came back in time");
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

fn new_histogram() -> Result<Histogram<u64>> {
    // Up to a minute, so that it never has to grow while something is measured.
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
