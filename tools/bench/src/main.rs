//! matou beside its peers: `cargo xtask bench` runs it.
//!
//! Each measurement is a process of its own, and the peers take turns within each round, so that
//! whatever else the machine does hits them all.

mod contest;
mod counts;
mod curves;
mod echo;
mod figure;
mod means;
mod meter;
mod primitives;
mod process;
mod ratios;
mod record;
mod report;
mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};

use crate::record::{Machine, Part, Record};
use crate::rounds::Plan;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures everything, side by side.
    Run(RunOptions),
    /// Measures what operations cost in crowds.
    Curves(RunOptions),
    /// Draws the pictures and fills the tables of the documents from a file of figures.
    Report {
        /// The file of figures.
        #[arg(long)]
        json: PathBuf,
        /// The folder of the project.
        #[arg(long)]
        root: PathBuf,
    },
    /// Counts the instructions of the small operations, and compares them with the committed ones.
    Counts(Committed),
    /// Compares how matou stands beside its peers with how it stood.
    Ratios(Committed),
    /// Does one kind of work in one runtime, and prints what it cost.
    #[command(hide = true)]
    Child {
        work: String,
        runtime: String,
        operations: u64,
        /// Let matou's clock stand still.
        #[arg(long)]
        still: bool,
    },
    /// Does one kind of work in a crowd.
    #[command(hide = true)]
    Curve { curve: String, runtime: String, crowd: u64, operations: u64 },
    /// Serves echoes in one runtime until its standard input ends.
    #[command(hide = true)]
    Server {
        runtime: String,
        #[command(flatten)]
        setting: echo::Setting,
    },
}

/// What is measured, and where it goes.
#[derive(clap::Args)]
struct RunOptions {
    /// Only works whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only this runtime.
    #[arg(long)]
    runtime: Option<String>,
    #[arg(long)]
    rounds: Option<usize>,
    /// A tenth of the operations, and no system calls: for a first look.
    #[arg(long)]
    quick: bool,
    /// Do not count system calls.
    #[arg(long)]
    no_system_calls: bool,
    /// Where the figures go, as JSON. What the file knows of the other part stays in it.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The folder where pictures go, as SVG.
    #[arg(long)]
    pictures: Option<PathBuf>,
}

/// A file of figures that are committed.
#[derive(clap::Args)]
struct Committed {
    /// Write the file instead of comparing with it.
    #[arg(long)]
    update: bool,
    #[arg(long)]
    file: PathBuf,
}

impl RunOptions {
    /// What the file knows already. Read first: half an hour of measuring must not be lost to a
    /// file that cannot be read.
    fn record(&self) -> Result<Record> {
        self.json.as_deref().map_or_else(|| Ok(Record::default()), Record::read)
    }

    /// `rounds` are those of an ordinary run, and of a quick one.
    fn plan(&self, rounds: [usize; 2]) -> Plan {
        Plan {
            only: self.only.clone(),
            runtime: self.runtime.clone(),
            rounds: self.rounds.unwrap_or(rounds[usize::from(self.quick)]).max(1),
            quick: self.quick,
            system_calls: !self.no_system_calls && !self.quick,
        }
    }
}

fn main() -> ExitCode {
    match choose(Cli::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn choose(what: What) -> Result<()> {
    match what {
        What::Run(options) => run(&options),
        What::Curves(options) => run_curves(&options),
        What::Report { json, root } => report::publish(&Record::read(&json)?, &root),
        What::Counts(Committed { update, file }) => counts::run(update, &file),
        What::Ratios(Committed { update, file }) => ratios::run(update, &file),
        What::Child { work, runtime, operations, still } => {
            process::end_with_parent()?;
            if still {
                primitives::stop_the_clock();
            }
            let programs = primitives::programs();
            let program = programs.iter().find(|it| it.work == work && it.runtime == runtime);
            let cost = (program.context("there is no such program")?.run)(operations);
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        What::Curve { curve, runtime, crowd, operations } => {
            process::end_with_parent()?;
            curves::run(&curve, &runtime, crowd, operations)
        }
        What::Server { runtime, setting } => echo::serve(&runtime, setting),
    }
}

fn run(options: &RunOptions) -> Result<()> {
    let record = options.record()?;
    let (plan, means) = (options.plan([5, 3]), means::find());
    let machine = Machine::look(&means);
    let mut figures = rounds::primitives(&plan, &means);
    figures.extend(echo::measure(&plan, &means));
    if figures.is_empty() {
        bail!("nothing is called like that");
    }
    print!("{}", report::table(&figures));
    if !means.strace {
        println!("\nSystem calls were not counted: there is no strace, or it is not allowed.");
    }
    let failures = figures.iter().filter(|figure| figure.is_our_failure()).count();
    let part = Part { machine, rounds: plan.rounds, quick: plan.quick, results: figures };
    keep(options, Record { figures: Some(part), ..record })?;
    ensure!(failures == 0, "{failures} measurements failed");
    Ok(())
}

fn run_curves(options: &RunOptions) -> Result<()> {
    let record = options.record()?;
    let plan = options.plan([5, 3]);
    let machine = Machine::look(&means::find());
    let points = curves::measure(&plan);
    print!("{}", report::curves(&points));
    let part = Part { machine, rounds: plan.rounds, quick: plan.quick, results: points };
    keep(options, Record { curves: Some(part), ..record })
}

/// Writes what was measured, and draws it.
fn keep(options: &RunOptions, record: Record) -> Result<()> {
    if let Some(file) = &options.json {
        record.write(file)?;
    }
    if let Some(folder) = &options.pictures {
        report::pictures(&record, folder)?;
    }
    Ok(())
}
