//! Rounds of measurements, in which the peers take turns.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::RunOptions;
use crate::meter::Cost;
use crate::primitives::{self, WORKS};

/// What one runtime needs for one kind of work, over all rounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    pub(crate) work: String,
    pub(crate) about: String,
    pub(crate) runtime: String,
    /// The median of the rounds, and the least and the greatest.
    pub(crate) wall_ns: Spread,
    pub(crate) cpu_ns: Spread,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    pub(crate) late_us: f64,
    /// None where the system cannot tell.
    pub(crate) system_calls: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        Spread { median, min: values[0], max: values[values.len() - 1] }
    }
}

/// Measures the small operations.
pub(crate) fn primitives(options: &RunOptions) -> Result<Vec<Figure>> {
    let programs = primitives::programs();
    let mut figures = Vec::new();
    for work in WORKS.iter().filter(|work| work.name.contains(&options.only)) {
        let operations = if options.quick { work.operations / 10 } else { work.operations };
        let rivals: Vec<_> = programs.iter().filter(|it| it.work == work.name).collect();
        let mut costs = vec![Vec::new(); rivals.len()];
        for round in 0..options.rounds {
            for step in 0..rivals.len() {
                // Nobody comes first in every round.
                let index = (round + step) % rivals.len();
                costs[index].push(child(work.name, rivals[index].runtime, operations)?);
            }
        }
        for (program, costs) in rivals.iter().zip(costs) {
            let runtime = program.runtime;
            let system_calls = count_system_calls(work.name, runtime, operations / 10);
            figures.push(figure(work.name, work.about, runtime, &costs, system_calls));
        }
        eprintln!("{}", work.name);
    }
    Ok(figures)
}

pub(crate) fn figure(
    work: &str,
    about: &str,
    runtime: &str,
    costs: &[Cost],
    system_calls: Option<f64>,
) -> Figure {
    let spread = |of: fn(&Cost) -> f64| Spread::of(costs.iter().map(of).collect());
    Figure {
        work: work.into(),
        about: about.into(),
        runtime: runtime.into(),
        wall_ns: spread(|cost| cost.wall_ns),
        cpu_ns: spread(|cost| cost.cpu_ns),
        allocations: spread(|cost| cost.allocations).median,
        bytes: spread(|cost| cost.bytes).median,
        late_us: spread(|cost| cost.late_us).median,
        system_calls,
    }
}

fn command(work: &str, runtime: &str, operations: u64) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", work, runtime, &operations.to_string()]);
    Ok(command)
}

fn child(work: &str, runtime: &str, operations: u64) -> Result<Cost> {
    let output = command(work, runtime, operations)?.output().context("failed to start a child")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{work} of {runtime} ended with {}: {words}", output.status);
    serde_json::from_slice(&output.stdout).context("a child said something unknown")
}

/// Counts the system calls of an operation, where there is strace: those of a run of many, less
/// those of a run of none.
fn count_system_calls(work: &str, runtime: &str, operations: u64) -> Option<f64> {
    // In hundreds, as most programs work in steps of a thousand.
    let operations = operations / 1000 * 1000;
    let count = |operations: u64| {
        let mut strace = Command::new("strace");
        let program = command(work, runtime, operations).ok()?;
        strace.args(["-f", "-c", "-U", "calls,name"]).arg(program.get_program());
        let output = strace.args(program.get_args()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let total = text.lines().find(|line| line.trim_end().ends_with("total"))?;
        total.split_whitespace().next()?.parse::<f64>().ok()
    };
    if operations == 0 {
        return None;
    }
    let (many, twice) = (count(operations)?, count(operations * 2)?);
    Some((twice - many).max(0.0) / operations as f64)
}
