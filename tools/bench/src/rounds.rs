//! Rounds of measurements, in which the rivals take turns.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::figure::{Figure, Subject};
use crate::means::Means;
use crate::meter::Cost;
use crate::primitives::{self, Program, WORKS, Work};
use crate::process;

/// How long a small program may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured, and how thoroughly.
pub(crate) struct Plan {
    /// Only works whose names contain this.
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
    pub(crate) fn wants(&self, work: &str) -> bool {
        work.contains(&self.only)
    }

    pub(crate) fn wants_runtime(&self, runtime: &str) -> bool {
        self.runtime.as_ref().is_none_or(|only| only == runtime)
    }
}

/// Lets so many rivals take turns for so many rounds. Who cannot go on is not asked again.
pub(crate) fn take_turns(
    rounds: usize,
    rivals: usize,
    mut measure: impl FnMut(usize) -> Result<Cost>,
) -> Vec<Result<Vec<Cost>>> {
    let mut turns: Vec<Result<Vec<Cost>>> = (0..rivals).map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds {
        for step in 0..rivals {
            // Nobody comes first in every round.
            let index = (round + step) % rivals;
            if let Ok(costs) = &mut turns[index] {
                match measure(index) {
                    Ok(cost) => costs.push(cost),
                    Err(error) => turns[index] = Err(error),
                }
            }
        }
    }
    turns
}

/// Measures the small operations.
pub(crate) fn primitives(plan: &Plan, means: &Means) -> Vec<Figure> {
    let programs = primitives::programs();
    let mut figures = Vec::new();
    for work in WORKS.iter().filter(|work| plan.wants(work.name)) {
        let operations = if plan.quick { work.operations / 10 } else { work.operations };
        let operations = work.about(operations);
        let is_rival = |it: &&Program| it.work == work.name && plan.wants_runtime(it.runtime);
        let rivals: Vec<_> = programs.iter().filter(is_rival).collect();
        let turns = take_turns(plan.rounds, rivals.len(), |index| {
            means.check_runtime(rivals[index].runtime)?;
            child(work.name, rivals[index].runtime, operations)
        });
        for (program, turns) in rivals.iter().zip(turns) {
            let subject = Subject::new(work.kind, work.name, work.about, program.runtime);
            let calls = match &turns {
                Ok(_) if plan.system_calls && means.strace => {
                    count_system_calls(work, program.runtime)
                }
                _ => None,
            };
            figures.push(Figure::of(subject, turns, calls));
        }
        eprintln!("{}", work.name);
    }
    figures
}

fn command(work: &str, runtime: &str, operations: u64) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", work, runtime, &operations.to_string()]);
    Ok(command)
}

/// Does a work in a process of its own.
pub(crate) fn child(work: &str, runtime: &str, operations: u64) -> Result<Cost> {
    let said = process::run(&mut command(work, runtime, operations)?, PATIENCE)
        .with_context(|| format!("{work} of {runtime}"))?;
    serde_json::from_str(&said.output).context("a child said something unknown")
}

/// Counts the system calls of an operation: those of twice as many, less those of so many.
fn count_system_calls(work: &Work, runtime: &str) -> Option<f64> {
    // The system stops the program at each of them, so there must not be many.
    let operations = work.about(work.operations / 100);
    let count = |operations: u64| {
        let mut strace = Command::new("strace");
        let program = command(work.name, runtime, operations).ok()?;
        strace.args(["-f", "-c", "-U", "calls,name"]).arg(program.get_program());
        strace.args(program.get_args());
        let text = process::run(&mut strace, PATIENCE).ok()?.error;
        let total = text.lines().find(|line| line.trim_end().ends_with("total"))?;
        total.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (once, twice) = (count(operations)?, count(2 * operations)?);
    Some((twice - once).max(0.0) / operations as f64)
}
