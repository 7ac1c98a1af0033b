//! `cargo xtask bench`: matou beside its peers.
//!
//! The package `bench` is a workspace of its own, so that nobody who uses or tests matou compiles
//! its peers. Here it is built and started.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::workspace::{Workspace, cargo};

/// Measures matou beside its peers, in one run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only works whose names contain this, such as `spawn` or `echo`.
    #[arg(long, default_value = "")]
    only: String,
    /// How often each is measured; the medians count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A tenth of the operations: for a first look.
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the chart into this file, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
    /// Count instructions instead, and compare them with the committed counts.
    #[arg(long)]
    check: bool,
    /// Commit new counts: write them to `bench/counts.json`.
    #[arg(long)]
    update: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut bench = build(&workspace)?;
    if options.check || options.update {
        bench.args(["counts", "--file"]).arg(workspace.root().join("bench/counts.json"));
        bench.args(options.update.then_some("--update"));
    } else {
        bench.args(["run", "--only", &options.only, "--rounds", &options.rounds.to_string()]);
        bench.args(options.quick.then_some("--quick"));
        bench.args(options.json.iter().flat_map(|path| ["--json".as_ref(), path.as_os_str()]));
        bench.args(options.chart.iter().flat_map(|path| ["--chart".as_ref(), path.as_os_str()]));
    }
    let status = bench.status().context("failed to start the benchmark")?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

/// Builds the benchmark, in a target directory of its own.
fn build(workspace: &Workspace) -> Result<Command> {
    let target = workspace.target().join("bench");
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--manifest-path"]);
    command.arg(workspace.root().join("bench/Cargo.toml")).arg("--target-dir").arg(&target);
    let status = command.status().context("failed to run cargo")?;
    ensure!(status.success(), "the benchmark was not built");
    Ok(Command::new(target.join("release/matou-bench")))
}
