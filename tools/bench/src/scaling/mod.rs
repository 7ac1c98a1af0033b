//! Whether the cost of an operation depends on the population: the number of other tasks, timers,
//! resources or sockets, from 10 to 1,000,000.

mod matou;
#[cfg(feature = "peers")]
mod tokio;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use matou_loadgen::process::{field, raise_descriptor_limit};
use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::figure::median;
use crate::interleave::{Plan, cost_of, interleave};

const POPULATIONS: [u64; 6] = [10, 100, 1000, 10_000, 100_000, 1_000_000];
/// How long one measurement may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Upper bound of the memory that one of the population takes.
const BYTES_EACH: u64 = 1500;

/// An operation: its name, its description, and how often it is done.
type Operation = (&'static str, &'static str, u64);

pub(crate) const OPERATIONS: &[Operation] = &[
    ("spawn", "spawn and await, beside idle tasks", 100_000),
    ("wake", "wake one of the tasks, which runs", 100_000),
    ("cancel", "spawn, cancel and await, beside idle tasks", 50_000),
    ("timer", "set a timer and drop it, beside timers", 100_000),
    ("orphan", "add a child to a collector and remove it", 50_000),
    ("own", "own, check and release, beside resources", 100_000),
    ("descriptor", "an echo, beside silent sockets", 10_000),
];

/// The name of a runtime, that of an operation, and the program, which takes the population and the
/// number of operations.
type Row = (&'static str, &'static str, fn(u64, u64) -> Result<()>);

/// The cost of an operation beside a population.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "PointRow", into = "PointRow")]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) runtime: String,
    pub(crate) population: u64,
    /// The median, or the reason why there is none.
    pub(crate) cpu_ns: Result<f64, String>,
}

/// A line in the file of figures.
type PointRow = (String, String, u64, Option<f64>, Option<String>);

impl From<PointRow> for Point {
    fn from((name, runtime, population, cpu_ns, missing): PointRow) -> Point {
        Point { name, runtime, population, cpu_ns: cpu_ns.ok_or(missing.unwrap_or_default()) }
    }
}

impl From<Point> for PointRow {
    fn from(point: Point) -> PointRow {
        let Point { name, runtime, population, cpu_ns } = point;
        let missing = cpu_ns.as_ref().err().cloned();
        (name, runtime, population, cpu_ns.ok().map(f64::round), missing)
    }
}

/// Measures all operations beside all populations. The runtimes alternate.
pub(crate) fn measure(plan: &Plan) -> Vec<Point> {
    let mut points = Vec::new();
    for &(name, _, operations) in OPERATIONS.iter().filter(|it| plan.includes(it.0)) {
        for population in POPULATIONS {
            let runtimes: Vec<_> =
                programs().filter(|row| row.1 == name).map(|row| row.0).collect();
            let results = interleave(plan.rounds, runtimes.len(), |index| {
                check_room(name, population)?;
                let operations = if plan.quick { operations / 5 } else { operations };
                child(name, runtimes[index], population, operations)
            });
            for (runtime, result) in runtimes.into_iter().zip(results) {
                let cpu_ns = result.map_err(|error| format!("{error:#}")).and_then(|costs| {
                    median(costs.iter().map(Cost::cpu_ns)).ok_or_else(|| "not measured".into())
                });
                points.push(Point {
                    name: name.into(),
                    runtime: runtime.into(),
                    population,
                    cpu_ns,
                });
            }
        }
        eprintln!("{name}");
    }
    points
}

/// Performs one measurement, and ends the process without waiting for the population.
pub(crate) fn run(name: &str, runtime: &str, population: u64, operations: u64) -> Result<()> {
    raise_descriptor_limit();
    let mut rows = programs().filter(|row| row.0 == runtime && row.1 == name);
    let (.., program) = rows.next().context("there is no such program")?;
    program(population, operations)
}

fn programs() -> impl Iterator<Item = &'static Row> {
    #[cfg(feature = "peers")]
    let peers = tokio::PROGRAMS;
    #[cfg(not(feature = "peers"))]
    let peers: &[Row] = &[];
    matou::PROGRAMS.iter().chain(peers)
}

fn child(name: &str, runtime: &str, population: u64, operations: u64) -> Result<Cost> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["scaling", name, runtime, &population.to_string(), &operations.to_string()]);
    cost_of(&mut command, LIMIT)
}

fn check_room(name: &str, population: u64) -> Result<()> {
    if name == "descriptor" {
        let (needed, allowed) = (population + 100, raise_descriptor_limit());
        ensure!(needed <= allowed, "{needed} descriptors are needed, {allowed} are allowed");
    }
    let available = field("", "meminfo", "MemAvailable:").map_or(u64::MAX, |kib| kib << 10);
    ensure!(population * BYTES_EACH < available, "not enough memory");
    Ok(())
}

/// Prints the cost, and ends the process together with the population.
fn end(cost: &Cost) -> ! {
    match serde_json::to_string(cost) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{error}"),
    }
    std::process::exit(0)
}

/// Defines `spawn_one`, `wake`, `cancel` and `timer`, which differ between the runtimes only in the
/// type of their errors and in how a task is cancelled.
macro_rules! common_programs {
    (result: $result:ty, cancel: |$child:ident| $cancel:expr,) => {
        /// Idle tasks that have been polled.
        async fn idle(population: u64) {
            let tasks: Vec<_> = (0..population).map(|_| spawn(pending::<()>())).collect();
            std::mem::forget(tasks);
            yield_now().await;
        }

        async fn spawn_one(population: u64, n: u64) -> $result {
            idle(population).await;
            let meter = Meter::start();
            for number in 0..n {
                black_box(spawn(async move { number }).await?);
            }
            Ok(meter.stop(n))
        }

        async fn wake(population: u64, n: u64) -> $result {
            let wakers = super::wakers(population);
            let task = |index| spawn(super::store_waker(wakers.clone(), index));
            std::mem::forget((0..population).map(task).collect::<Vec<_>>());
            yield_now().await;
            let mut random = super::Random(1);
            let meter = Meter::start();
            for _ in 0..n {
                super::wake(&wakers, random.below(population));
                yield_now().await;
            }
            Ok(meter.stop(n))
        }

        async fn cancel(population: u64, n: u64) -> $result {
            idle(population).await;
            let meter = Meter::start();
            for _ in 0..n {
                let $child = spawn(pending::<()>());
                yield_now().await;
                let _ = $cancel;
            }
            Ok(meter.stop(n))
        }

        async fn timer(population: u64, n: u64) -> $result {
            let mut random = super::Random(1);
            let mut timers = Vec::with_capacity(population as usize);
            for _ in 0..population {
                let mut timer = Box::pin(sleep(random.long_duration()));
                assert!(futures::poll!(timer.as_mut()).is_pending());
                timers.push(timer);
            }
            let meter = Meter::start();
            for _ in 0..n {
                let mut timer = std::pin::pin!(sleep(random.long_duration()));
                assert!(futures::poll!(timer.as_mut()).is_pending());
            }
            let cost = meter.stop(n);
            std::mem::forget(timers);
            Ok(cost)
        }
    };
}
use common_programs;

/// Random numbers, so that members of the population are used in an order that caches cannot
/// predict.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    /// A duration that does not elapse during the measurement.
    fn long_duration(&mut self) -> Duration {
        Duration::from_millis(1_000_000 + self.below(1_000_000))
    }
}

/// The wakers of a population of tasks.
type Wakers = Arc<Vec<Mutex<Option<Waker>>>>;

fn wakers(population: u64) -> Wakers {
    Arc::new((0..population).map(|_| Mutex::new(None)).collect())
}

/// A task that stores its waker each time it is polled, and never ends.
async fn store_waker(wakers: Wakers, index: u64) {
    std::future::poll_fn::<(), _>(|cx| {
        *wakers[index as usize].lock().expect("no panic") = Some(cx.waker().clone());
        std::task::Poll::Pending
    })
    .await;
}

fn wake(wakers: &Wakers, index: u64) {
    let waker = wakers[index as usize].lock().expect("no panic").take();
    waker.expect("the task was polled").wake();
}
