//! Rounds of measurements in which the runtimes alternate.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use matou_loadgen::{Interrupted, SystemCalls, interrupted, process};

use crate::capabilities::Capabilities;
use crate::cost::Cost;
use crate::figure::{Figure, Subject};
use crate::primitives::{self, Program, WORKS, Work};

/// How long a small program may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The selection of measurements, and their thoroughness.
pub(crate) struct Plan {
    /// Only workloads whose names contain this.
    pub(crate) only: String,
    /// Only this runtime.
    pub(crate) runtime: Option<String>,
    pub(crate) rounds: usize,
    /// A tenth of the operations.
    pub(crate) quick: bool,
    /// Whether system calls are counted.
    pub(crate) system_calls: bool,
}

impl Plan {
    pub(crate) fn includes(&self, work: &str) -> bool {
        work.contains(&self.only) && !interrupted()
    }

    pub(crate) fn includes_runtime(&self, runtime: &str) -> bool {
        self.runtime.as_ref().is_none_or(|only| only == runtime)
    }
}

/// Measures `count` candidates alternately: A B C, B C A, and so on. A candidate that fails is not
/// measured again. After Ctrl-C, the rounds so far are the result.
pub(crate) fn interleave(
    rounds: usize,
    count: usize,
    mut measure: impl FnMut(usize) -> Result<Cost>,
) -> Vec<Result<Vec<Cost>>> {
    let mut results: Vec<Result<Vec<Cost>>> = (0..count).map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds {
        for step in 0..count {
            let index = (round + step) % count;
            let Ok(costs) = &mut results[index] else { continue };
            match measure(index) {
                // An interrupt makes the measurement fail or its result worthless.
                _ if interrupted() => return results,
                Ok(cost) => costs.push(cost),
                Err(error) => results[index] = Err(error),
            }
        }
    }
    results
}

/// Measures the small operations.
pub(crate) fn primitives(plan: &Plan, capabilities: &Capabilities) -> Vec<Figure> {
    let programs = primitives::programs();
    let mut figures = Vec::new();
    for work in WORKS.iter().filter(|work| plan.includes(work.name)) {
        let operations = if plan.quick { work.operations / 10 } else { work.operations };
        let operations = work.whole_steps(operations);
        let is_included = |it: &&Program| it.work == work.name && plan.includes_runtime(it.runtime);
        let included: Vec<_> = programs.iter().filter(is_included).collect();
        let results = interleave(plan.rounds, included.len(), |index| {
            capabilities.check_runtime(included[index].runtime)?;
            child(work.name, included[index].runtime, operations)
        });
        for (program, result) in included.iter().zip(results) {
            let count_calls = plan.system_calls && capabilities.strace && result.is_ok();
            let calls = count_calls.then(|| count_system_calls(work, program.runtime)).flatten();
            let subject = Subject::new(work.name, program.runtime);
            figures.push(Figure::of(subject, result, calls));
        }
        eprintln!("{}", work.name);
    }
    figures
}

fn command(work: &str, runtime: &str, operations: u64) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["primitive", work, runtime, &operations.to_string()]);
    Ok(command)
}

/// Runs a workload in a separate process.
pub(crate) fn child(work: &str, runtime: &str, operations: u64) -> Result<Cost> {
    cost_of(&mut command(work, runtime, operations)?, LIMIT)
        .with_context(|| format!("{work} of {runtime}"))
}

/// Runs a process that prints a cost.
pub(crate) fn cost_of(command: &mut Command, limit: Duration) -> Result<Cost> {
    if interrupted() {
        bail!(Interrupted);
    }
    let output = process::run(command, limit)?;
    serde_json::from_str(&output.stdout).context("a child process printed no cost")
}

/// Counts the system calls of an operation: the difference between two runs, of which one has twice
/// as many operations.
fn count_system_calls(work: &Work, runtime: &str) -> Option<f64> {
    // strace stops the program at each call, so there must be few.
    let operations = work.whole_steps(work.operations / 100);
    let count = |operations: u64| {
        let mut strace = Command::new("strace");
        let program = command(work.name, runtime, operations).ok()?;
        strace.args(["-f", "-c", "-U", "calls,name"]).arg(program.get_program());
        strace.args(program.get_args());
        let table = process::run(&mut strace, LIMIT).ok()?.stderr;
        Some(SystemCalls::parse(&table).total as f64)
    };
    let (once, twice) = (count(operations)?, count(2 * operations)?);
    Some((twice - once).max(0.0) / operations as f64)
}
