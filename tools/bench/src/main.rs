//! `cargo xtask bench`: matou compared with other runtimes.
//!
//! Each measurement is a process of its own, and the runtimes alternate within each round, so that
//! other load on the machine affects all of them.

mod capabilities;
mod comparison;
mod cost;
mod echo;
mod figure;
mod instr_counts;
mod interleave;
mod primitives;
mod process;
mod ratios;
mod record;
mod report;
mod scaling;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use matou_loadgen::{catch_interrupts, exit_code, interrupted};

use crate::capabilities::Capabilities;
use crate::figure::compute_ratios;
use crate::interleave::Plan;
use crate::record::{Machine, Part, Record};

/// Measures matou and other runtimes, alternately, in one run.
///
/// The table goes to the standard output; figures, raw rounds and pictures go to
/// `target/bench-report`. After Ctrl-C, the table contains the results so far.
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Args)]
struct Options {
    #[command(flatten)]
    mode: Mode,
    /// Only workloads whose names contain this, such as `spawn` or `echo`.
    #[arg(long, default_value = "")]
    only: String,
    /// Only this runtime, such as `matou` or `tokio-ct`.
    #[arg(long)]
    runtime: Option<String>,
    /// Number of measurements, of which the median counts [default: 5; 3 if quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// A tenth of the operations, and no system calls: for a first look.
    #[arg(long)]
    quick: bool,
    /// Do not count system calls, which takes a few minutes.
    #[arg(long)]
    no_system_calls: bool,
    /// With `--check` or `--update`: only instruction counts, which do not need a quiet machine.
    #[arg(long)]
    counts_only: bool,
    /// With `--check` or `--update`: only ratios.
    #[arg(long, conflicts_with = "counts_only")]
    ratios_only: bool,
}

/// The actions other than measuring everything.
#[derive(Args)]
#[group(multiple = false)]
struct Mode {
    /// Measure how costs depend on the number of tasks, timers and sockets.
    #[arg(long)]
    scaling: bool,
    /// Measure everything, write `tools/bench/figures.json`, and fill the documents.
    #[arg(long)]
    publish: bool,
    /// Fill the documents from `tools/bench/figures.json`.
    #[arg(long)]
    report: bool,
    /// Compare instruction counts, and ratios to other runtimes, with the committed ones.
    #[arg(long)]
    check: bool,
    /// Write the instruction counts, and the ratios of five runs, to be committed.
    #[arg(long)]
    update: bool,
    /// Measure the ratios in this many runs, and write their spreads, to be committed.
    #[arg(long, value_name = "RUNS")]
    calibrate: Option<usize>,
}

/// Runs of `--update` for the ratios.
const CALIBRATION_RUNS: usize = 5;

/// Measured processes.
#[derive(Subcommand)]
enum Child {
    /// Runs one workload in one runtime, and prints the cost.
    #[command(hide = true)]
    Primitive {
        work: String,
        runtime: String,
        operations: u64,
        /// Stop matou's clock.
        #[arg(long)]
        frozen_clock: bool,
    },
    /// Runs one workload beside a population, and prints the cost.
    #[command(hide = true)]
    Scaling { name: String, runtime: String, population: u64, operations: u64 },
    /// Sends this many requests of HTTP to a server that was started by hand, for example with a
    /// profiler, over so many connections.
    #[command(hide = true)]
    Requests { address: std::net::SocketAddr, connections: usize, requests: u64 },
    /// Serves echoes or HTTP in one runtime until its standard input ends.
    #[command(hide = true)]
    Server {
        runtime: String,
        #[command(flatten)]
        setting: echo::Setting,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit_code(match cli.child {
        Some(child) => run_child(child),
        None => catch_interrupts().and_then(|()| run(&cli.options)),
    })
}

fn run_child(child: Child) -> Result<()> {
    process::end_with_parent()?;
    match child {
        Child::Primitive { work, runtime, operations, frozen_clock } => {
            if frozen_clock {
                primitives::freeze_clock();
            }
            cost::apply_slowdown(&runtime);
            let programs = primitives::programs();
            let program = programs.iter().find(|it| it.work == work && it.runtime == runtime);
            let cost = (program.context("there is no such program")?.run)(operations);
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        Child::Scaling { name, runtime, population, operations } => {
            scaling::run(&name, &runtime, population, operations)
        }
        Child::Requests { address, connections, requests } => {
            echo::send_requests(address, connections, requests)
        }
        Child::Server { runtime, setting } => echo::serve(&runtime, setting),
    }
}

fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.context("the package is in a folder of the project")?;
    let committed = |name: &str| root.join("tools/bench").join(name);
    let Mode { scaling, publish, report, check, update, calibrate } = options.mode;
    let is_check = check || update || calibrate.is_some();
    if (check || update) && !options.ratios_only {
        instr_counts::run(update, &committed("counts.json"))?;
    }
    if check && !options.counts_only {
        ratios::check(&options.only, &committed("ratios.json"))?;
    }
    let update_runs = (update && !options.counts_only).then_some(CALIBRATION_RUNS);
    if let Some(runs) = calibrate.or(update_runs) {
        ratios::calibrate(runs, &options.only, &committed("ratios.json"))?;
    }
    if is_check {
        return Ok(());
    }
    let folder = root.join("target/bench-report");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let is_published = publish || report;
    let file = if is_published { committed("figures.json") } else { folder.join("figures.json") };
    // Read first: the results of a long run must not be lost to an unreadable file.
    let mut record = Record::read(&file)?;
    if publish || !(report || scaling) {
        measure_figures(options, &mut record, &folder)?;
    }
    if publish || scaling {
        measure_scaling(options, &mut record);
    }
    if interrupted() {
        // A partial result replaces no file.
        return Ok(());
    }
    record.write(&file)?;
    if is_published {
        return report::publish(&record, root);
    }
    report::pictures(&record, &folder)?;
    println!("\nfigures: {}, pictures: {}", file.display(), folder.display());
    let figures = record.figures.iter().flat_map(|part| &part.results);
    let failures = figures.filter(|figure| figure.is_own_failure()).count();
    ensure!(failures == 0, "{failures} measurements failed");
    Ok(())
}

impl Options {
    fn plan(&self) -> Plan {
        Plan {
            only: self.only.clone(),
            runtime: self.runtime.clone(),
            rounds: self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1),
            quick: self.quick,
            system_calls: !self.no_system_calls && !self.quick,
        }
    }
}

fn measure_figures(options: &Options, record: &mut Record, folder: &Path) -> Result<()> {
    let (plan, capabilities) = (options.plan(), Capabilities::detect());
    let machine = Machine::describe(&capabilities);
    let mut results = interleave::primitives(&plan, &capabilities);
    results.extend(echo::measure(&plan, &capabilities));
    ensure!(!results.is_empty() || interrupted(), "no workload has such a name");
    results.chunk_by_mut(|a, b| a.subject.work == b.subject.work).for_each(compute_ratios);
    print!("{}", report::table(&results));
    if !capabilities.strace {
        println!("\nSystem calls were not counted: strace is missing or not allowed.");
    }
    if !interrupted() {
        record::write_rounds(&results, &folder.join("rounds.jsonl"))?;
    }
    record.figures = Some(Part { machine, rounds: plan.rounds, quick: plan.quick, results });
    Ok(())
}

fn measure_scaling(options: &Options, record: &mut Record) {
    let (plan, capabilities) = (options.plan(), Capabilities::detect());
    let machine = Machine::describe(&capabilities);
    let results = scaling::measure(&plan);
    print!("{}", report::scaling(&results));
    record.scaling = Some(Part { machine, rounds: plan.rounds, quick: plan.quick, results });
}
