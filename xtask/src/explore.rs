//! `cargo xtask explore`: random programs under many seeds, checked against a model of the rules.
//!
//! Arguments are passed on to the explorer (the package `matou-explore`). Without arguments it runs
//! with its defaults, and two of its processes must agree on the hashes of the first seeds.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::program::{Forwarded, cargo_run, exec};

const PACKAGE: &str = "--release --quiet --package matou-explore";

/// The run whose hashes two processes compare.
const COMPARED: [&str; 2] = ["--seeds", "490"];

pub(crate) fn run(arguments: &Forwarded) -> Result<()> {
    if !arguments.is_empty() {
        return exec(&mut cargo_run(PACKAGE, arguments));
    }
    let began = Instant::now();
    let mut explorer = cargo_run(PACKAGE, arguments);
    let status = explorer.status().context("failed to run cargo")?;
    ensure!(status.success(), "the explorer ended with {status}");
    let compared = Forwarded::from(COMPARED);
    let (first, second) = (hashes(&compared)?, hashes(&compared)?);
    ensure!(first.contains("digest"), "the explorer prints no digest:\n{first}");
    ensure!(first == second, "two processes disagree:\n{first}\n{second}");
    println!("two processes agree on all hashes of {} seeds", COMPARED[1]);
    println!("explored in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// The output of a run, without the times in it.
fn hashes(arguments: &Forwarded) -> Result<String> {
    let mut command: Command = cargo_run(PACKAGE, arguments);
    let output = command.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "the explorer ended with {}", output.status);
    let text = String::from_utf8(output.stdout).context("the output is not UTF-8")?;
    // Only the lines of the suites contain times, after the last comma.
    let without_time = |line: &str| line.rsplit_once(',').map(|(line, _)| line.to_owned());
    Ok(text.lines().filter_map(without_time).collect::<Vec<_>>().join("\n"))
}
