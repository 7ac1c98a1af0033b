//! Random programs in matou's test mode, checked against a simple model of its rules.
//!
//! `cargo xtask explore` runs it; see `runtime/docs/testing.md`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the results of a command line tool")]

mod coverage;
mod echo;
mod event;
mod model;
mod primitive_event;
mod program;
mod record;
mod resource;
mod rules;
mod settings;
mod suite;
mod summary;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use suite::{Failure, SUITES, Suite};
use summary::Summary;

/// Runs random programs, a fixed program for each of some rules, and the echo server with a hundred
/// clients, each under many seeds.
#[derive(Debug, Parser)]
struct Options {
    /// The number of random programs. The other suites use a fifth of the seeds.
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run only this suite: programs, rules or echo.
    #[arg(long)]
    suite: Option<String>,
    /// Run one seed of a suite (by default, of programs) and print the details.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of threads. Each run uses one thread.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> ExitCode {
    silence_expected_panics();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    const UNKNOWN_SUITE: &str = "invalid suite, expected one of programs, rules, echo";
    if let Some(seed) = options.seed {
        let name = options.suite.as_deref().unwrap_or(SUITES[0].name);
        let suite = SUITES.iter().find(|suite| suite.name == name);
        return run_seed(suite.context(UNKNOWN_SUITE)?, seed);
    }
    let selected = |suite: &&Suite| options.suite.as_deref().is_none_or(|name| name == suite.name);
    let suites: Vec<_> = SUITES.iter().filter(selected).collect();
    if suites.is_empty() {
        bail!(UNKNOWN_SUITE);
    }
    for suite in suites {
        let seeds = options.first..options.first + options.seeds.div_ceil(suite.seeds_per_run);
        let summary = Summary::run(suite, seeds, options.threads.max(1))?;
        println!("{:9} {summary}", suite.name);
        print!("{}", summary.coverage(suite));
    }
    Ok(())
}

/// Runs one seed, and prints the program and, if the run fails, its events.
fn run_seed(suite: &Suite, seed: u64) -> Result<()> {
    if suite.name == SUITES[0].name {
        println!("{:#?}", program::generate(seed));
    }
    match (suite.run)(seed) {
        Ok(passed) => {
            println!("seed {seed}, hash {:016x}: passed", passed.hash);
            Ok(())
        }
        Err(Failure { why, hash, events }) => {
            for (index, event) in events.iter().enumerate() {
                println!("{index:5} {event:?}");
            }
            bail!("seed {seed}, hash {hash:016x}: {why}")
        }
    }
}

/// Prints no message for the panics that random programs contain on purpose.
fn silence_expected_panics() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload().downcast_ref::<String>();
        if !payload.is_some_and(|message| message.starts_with("job ")) {
            default_hook(info);
        }
    }));
}
