//! `cargo xtask bench`: matou beside its peers.
//!
//! The package `bench` is a workspace of its own, so that nobody who uses or tests matou compiles
//! its peers. Here it is built and started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::workspace::{Workspace, cargo};

/// Measures matou beside its peers, in one run.
///
/// The table goes to the standard output; figures and pictures go into the folder `bench-report` of
/// the target directory.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only works whose names contain this, such as `spawn` or `echo`.
    #[arg(long, default_value = "")]
    only: String,
    /// Only this runtime, such as `matou` or `tokio-ct`.
    #[arg(long)]
    runtime: Option<String>,
    /// How often each is measured; the medians count [default: 5, or 3 if quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// A tenth of the operations, and no system calls: for a first look.
    #[arg(long)]
    quick: bool,
    /// Do not count system calls, which takes a few minutes.
    #[arg(long)]
    no_system_calls: bool,
    /// Write the figures to this file instead, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure what operations cost in crowds of 10 to 1,000,000 instead.
    #[arg(long, conflicts_with_all = ["check", "update"])]
    curves: bool,
    /// Measure everything, keep the figures in `tools/bench/figures.json`, and fill the documents.
    #[arg(long, conflicts_with_all = ["check", "update", "curves", "json", "only", "runtime"])]
    publish: bool,
    /// Only fill the documents, from `tools/bench/figures.json`.
    #[arg(long, conflicts_with_all = ["check", "update", "curves", "publish"])]
    report: bool,
    /// Compare instruction counts, and ratios to peers, with the committed ones instead.
    #[arg(long)]
    check: bool,
    /// Commit new counts and ratios: write them to `tools/bench/counts.json` and `tools/bench/ratios.json`.
    #[arg(long)]
    update: bool,
    /// With `--check` or `--update`: only counts, which repeat on any machine that is busy.
    #[arg(long)]
    counts_only: bool,
    /// With `--check` or `--update`: only ratios.
    #[arg(long, conflicts_with = "counts_only")]
    ratios_only: bool,
}

/// What is measured.
const EVERYTHING: [&str; 2] = ["run", "curves"];

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let program = build(&workspace, !options.counts_only)?;
    let root = workspace.root();
    if options.check || options.update {
        return compare(&program, root, options);
    }
    if options.publish {
        for what in EVERYTHING {
            measure(&program, what, options, &figures(root), &root.join("docs"))?;
        }
    }
    if options.publish || options.report {
        let mut command = Command::new(&program);
        command.arg("report").arg("--json").arg(figures(root)).arg("--root").arg(root);
        return start(&mut command);
    }
    let folder = workspace.target().join("bench-report");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = options.json.clone().unwrap_or_else(|| folder.join("figures.json"));
    let what = EVERYTHING[usize::from(options.curves)];
    measure(&program, what, options, &file, &folder)?;
    println!("\nfigures: {}, pictures: {}", file.display(), folder.display());
    Ok(())
}

fn figures(root: &Path) -> PathBuf {
    root.join("tools/bench/figures.json")
}

fn measure(
    program: &Path,
    what: &str,
    options: &Options,
    file: &Path,
    pictures: &Path,
) -> Result<()> {
    let mut command = Command::new(program);
    command.args([what, "--only", &options.only]);
    command.args(options.runtime.iter().flat_map(|runtime| ["--runtime", runtime]));
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    command.args(options.quick.then_some("--quick"));
    command.args(options.no_system_calls.then_some("--no-system-calls"));
    command.arg("--json").arg(file).arg("--pictures").arg(pictures);
    start(&mut command)
}

/// Counts first: they take no quiet machine.
fn compare(program: &Path, root: &Path, options: &Options) -> Result<()> {
    let counts = (!options.ratios_only).then_some(("counts", "tools/bench/counts.json"));
    let ratios = (!options.counts_only).then_some(("ratios", "tools/bench/ratios.json"));
    for (what, file) in counts.into_iter().chain(ratios) {
        let mut command = Command::new(program);
        command.args([what, "--file"]).arg(root.join(file));
        command.args(options.update.then_some("--update"));
        start(&mut command)?;
    }
    Ok(())
}

fn start(command: &mut Command) -> Result<()> {
    let status = command.status().context("failed to start the benchmark")?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

/// Builds the benchmark, in a target directory of its own. Without the peers it is built sooner.
fn build(workspace: &Workspace, with_peers: bool) -> Result<PathBuf> {
    let target = workspace.target().join(if with_peers { "bench" } else { "counts" });
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--manifest-path"]);
    command.arg(workspace.root().join("tools/bench/Cargo.toml")).arg("--target-dir").arg(&target);
    if !with_peers {
        // Instructions are counted, not told apart by their lines.
        command.arg("--no-default-features").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    }
    let status = command.status().context("failed to run cargo")?;
    ensure!(status.success(), "the benchmark was not built");
    Ok(target.join("release/matou-bench"))
}
