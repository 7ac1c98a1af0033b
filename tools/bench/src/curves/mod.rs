//! Whether an operation costs the same in a crowd: with 10 others alive, and with 1,000,000.

mod matou;
#[cfg(feature = "peers")]
mod tokio;

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figure::Spread;
use crate::meter::Cost;
use crate::process::{self, raise_descriptors};
use crate::rounds::{Plan, take_turns};

/// How many others there are.
const CROWDS: [u64; 6] = [10, 100, 1000, 10_000, 100_000, 1_000_000];
/// How long one measurement may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A generous guess of what one of the crowd takes.
const BYTES_EACH: u64 = 1500;

/// An operation whose cost is measured in crowds.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    operations: u64,
}

const fn curve(name: &'static str, about: &'static str, operations: u64) -> Curve {
    Curve { name, about, operations }
}

pub(crate) const CURVES: &[Curve] = &[
    curve("spawn", "spawn and await, beside idle tasks", 100_000),
    curve("wake", "wake any of the tasks, and it runs", 100_000),
    curve("cancel", "spawn, cancel, await the end, beside idle tasks", 50_000),
    curve("timer", "set a timer and drop it, beside timers", 100_000),
    curve("orphan", "put a child into a collector, take it out", 50_000),
    curve("own", "own, check, release, beside resources", 100_000),
    curve("descriptor", "an echo, beside silent sockets", 10_000),
    curve("fan", "make so many children, cancel them: for each", 50_000),
    curve("chain", "make a chain of so many, cancel it: for each", 50_000),
];

/// A runtime's name, a curve's name, and the program: with so many others, so many operations.
type Row = (&'static str, &'static str, fn(u64, u64) -> Result<()>);

/// What an operation costs in a crowd.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Point {
    pub(crate) curve: String,
    pub(crate) runtime: String,
    pub(crate) crowd: u64,
    /// None if it was not measured, for the reason below.
    pub(crate) cpu_ns: Option<Spread>,
    pub(crate) lacking: Option<String>,
}

/// Measures all curves. The runtimes take turns.
pub(crate) fn measure(plan: &Plan) -> Vec<Point> {
    let mut points = Vec::new();
    for curve in CURVES.iter().filter(|curve| plan.wants(curve.name)) {
        for crowd in CROWDS {
            let rows: Vec<_> = programs().filter(|(_, name, _)| *name == curve.name).collect();
            let turns = take_turns(plan.rounds, rows.len(), |index| {
                check_room(curve, crowd)?;
                let operations = if plan.quick { curve.operations / 5 } else { curve.operations };
                child(curve.name, rows[index].0, crowd, operations)
            });
            for ((runtime, ..), turns) in rows.iter().zip(turns) {
                let lacking = turns.as_ref().err().map(|error| format!("{error:#}"));
                let costs = turns.unwrap_or_default();
                points.push(Point {
                    curve: curve.name.into(),
                    runtime: (*runtime).into(),
                    crowd,
                    cpu_ns: Spread::of(costs.iter().map(Cost::cpu_ns)),
                    lacking,
                });
            }
        }
        eprintln!("{}", curve.name);
    }
    points
}

/// Does one measurement, and ends the process: it does not wait until the crowd is gone.
pub(crate) fn run(name: &str, runtime: &str, crowd: u64, operations: u64) -> Result<()> {
    raise_descriptors();
    let mut rows = programs().filter(|row| row.0 == runtime && row.1 == name);
    let (.., program) = rows.next().context("there is no such program")?;
    program(crowd, operations)
}

fn programs() -> impl Iterator<Item = &'static Row> {
    #[cfg(feature = "peers")]
    let peers = tokio::PROGRAMS;
    #[cfg(not(feature = "peers"))]
    let peers: &[Row] = &[];
    matou::PROGRAMS.iter().chain(peers)
}

fn child(name: &str, runtime: &str, crowd: u64, operations: u64) -> Result<Cost> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["curve", name, runtime, &crowd.to_string(), &operations.to_string()]);
    let said = process::run(&mut command, PATIENCE)?;
    serde_json::from_str(&said.output).context("a child said something unknown")
}

fn check_room(curve: &Curve, crowd: u64) -> Result<()> {
    if curve.name == "descriptor" {
        let (needed, allowed) = (crowd + 100, raise_descriptors());
        ensure!(needed <= allowed, "{needed} descriptors are needed, {allowed} are allowed");
    }
    let Some(free) = available_bytes() else { return Ok(()) };
    ensure!(crowd * BYTES_EACH < free, "too little memory");
    Ok(())
}

fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Says what it cost, and ends the process with the crowd in it.
fn end(cost: &Cost) -> ! {
    match serde_json::to_string(cost) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{error}"),
    }
    std::process::exit(0)
}

/// Draws members of the crowd, in an order that no cache foresees.
struct Lots(u64);

impl Lots {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }

    /// A moment that does not come while something is measured.
    fn far(&mut self) -> Duration {
        Duration::from_millis(1_000_000 + self.draw(1_000_000))
    }
}

/// The places where the tasks of a crowd leave their wakers.
type Bells = Arc<Vec<Mutex<Option<Waker>>>>;

fn bells(crowd: u64) -> Bells {
    Arc::new((0..crowd).map(|_| Mutex::new(None)).collect())
}

/// A task that leaves its waker each time it is polled, and never ends.
async fn wait_for_ever(bells: Bells, index: u64) {
    std::future::poll_fn::<(), _>(|cx| {
        *bells[index as usize].lock().expect("nobody panics") = Some(cx.waker().clone());
        std::task::Poll::Pending
    })
    .await;
}

fn ring(bells: &Bells, index: u64) {
    let waker = bells[index as usize].lock().expect("nobody panics").take();
    waker.expect("it was polled").wake();
}
