//! matou beside its peers: `cargo xtask bench` runs it.
//!
//! Each measurement is a process of its own, and the peers take turns within each round, so that
//! whatever else the machine does hits them all.

mod counts;
mod echo;
mod meter;
mod primitives;
mod report;
mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures everything, side by side.
    Run(RunOptions),
    /// Counts the instructions of the small operations, and compares them with the committed ones.
    Counts {
        /// Write the counts instead of comparing them.
        #[arg(long)]
        update: bool,
        /// The file of the committed counts.
        #[arg(long)]
        file: PathBuf,
    },
    /// Does one kind of work in one runtime, and prints what it cost.
    #[command(hide = true)]
    Child { work: String, runtime: String, operations: u64 },
    /// Serves echoes in one runtime until its standard input ends.
    #[command(hide = true)]
    Server { runtime: String },
}

/// What is measured, and where it goes.
#[derive(clap::Args)]
struct RunOptions {
    /// Only works whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A tenth of the operations: for a first look.
    #[arg(long)]
    quick: bool,
    /// Where the figures go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the chart goes, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
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
        What::Counts { update, file } => counts::run(update, &file),
        What::Child { work, runtime, operations } => {
            let programs = primitives::programs();
            let program = programs.iter().find(|it| it.work == work && it.runtime == runtime);
            let cost = (program.context("there is no such program")?.run)(operations);
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        What::Server { runtime } => echo::serve(&runtime),
    }
}

fn run(options: &RunOptions) -> Result<()> {
    let mut figures = rounds::primitives(options)?;
    figures.extend(echo::measure(options)?);
    if figures.is_empty() {
        bail!("nothing is called like that");
    }
    print!("{}", report::table(&figures));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    if let Some(path) = &options.chart {
        report::chart(&figures, path)?;
    }
    Ok(())
}
