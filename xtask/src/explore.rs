//! `cargo xtask explore`: random programs under many seeds, judged by a model of the rules.
//!
//! The explorer is the package `explore`, built in release mode. Two of its processes run the first
//! seeds and must agree on every hash.

use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::mutants;
use crate::workspace::Workspace;

/// Runs random programs, the rules' own bodies, and the echo server with a hundred clients, each
/// under many seeds.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many programs. Of the rules and of the echo server there are a tenth as many runs.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only this part: programs, rules or echo.
    #[arg(long)]
    part: Option<String>,
    /// Run this seed alone, and tell all of it.
    #[arg(long)]
    seed: Option<u64>,
    /// Also shows that the explorer finds known faults, and replays each by its seed.
    #[arg(long)]
    self_test: bool,
}

/// How many seeds two processes run to compare their hashes.
const COMPARED: u64 = 1000;

pub(crate) fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let workspace = Workspace::load()?;
    let explorer = workspace.build("matou-explore", "release", "--bin", "matou-explore")?;
    let explore = |seeds: u64| {
        let mut command = Command::new(&explorer);
        command.arg("--seeds").arg(seeds.to_string());
        command.arg("--first").arg(options.first.to_string());
        command.args(options.part.iter().flat_map(|part| ["--part", part]));
        command
    };
    if let Some(seed) = options.seed {
        return finish(explore(1).arg("--seed").arg(seed.to_string()));
    }
    finish(&mut explore(options.seeds))?;
    let compared = COMPARED.min(options.seeds);
    let (first, second) = (digests(&mut explore(compared))?, digests(&mut explore(compared))?);
    ensure!(first.contains("digest"), "the explorer tells no digest:\n{first}");
    ensure!(first == second, "two processes disagree:\n{first}\n{second}");
    println!("two processes agree on all hashes of {compared} seeds");
    if options.self_test {
        mutants::run_explorer(&workspace)?;
    }
    println!("explored in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().context("failed to start the explorer")?;
    ensure!(status.success(), "the explorer ended with {status}");
    Ok(())
}

/// What a run says, without the times that it took.
fn digests(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().context("failed to start it")?;
    ensure!(output.status.success(), "the explorer ended with {}", output.status);
    let text = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    // Only the lines of the parts have times, and commas.
    let without_time = |line: &str| line.rsplit_once(',').map(|(line, _)| line.to_owned());
    Ok(text.lines().filter_map(without_time).collect::<Vec<_>>().join("\n"))
}
