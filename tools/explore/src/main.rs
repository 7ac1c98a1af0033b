//! Random programs under matou's test mode, judged by a naive model of its rules.
//!
//! `cargo xtask explore` runs it; see `runtime/docs/testing.md`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

mod coverage;
mod echo;
mod model;
mod program;
mod record;
mod resource;
mod rules;
mod tally;
mod trial;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use tally::Tally;
use trial::{Finding, PARTS, Part};

/// Runs random programs, the rules' own bodies, and the echo server with a hundred clients, each
/// under many seeds.
#[derive(Debug, Parser)]
struct Options {
    /// How many programs. Of the rules and of the echo server there are a tenth as many runs.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only this part: programs, rules or echo.
    #[arg(long)]
    part: Option<String>,
    /// Run this seed alone, and tell all of it. Names a part, too, if it is not one of programs.
    #[arg(long)]
    seed: Option<u64>,
    /// How many threads. Each run stays on one.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> ExitCode {
    silence_planned_panics();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(seed) = options.seed {
        let name = options.part.as_deref().unwrap_or(PARTS[0].name);
        let part = PARTS.iter().find(|part| part.name == name);
        return tell(part.context("there is no such part")?, seed);
    }
    let wanted = |part: &&Part| options.part.as_deref().is_none_or(|name| name == part.name);
    let parts: Vec<_> = PARTS.iter().filter(wanted).collect();
    if parts.is_empty() {
        bail!("there is no such part");
    }
    for part in parts {
        let seeds = options.first..options.first + options.seeds.div_ceil(part.share);
        let tally = Tally::of(part, seeds, options.threads.max(1))?;
        println!("{:9} {tally}", part.name);
        print!("{}", tally.tell_counts(part));
    }
    Ok(())
}

/// Runs one seed, and tells all of it.
fn tell(part: &Part, seed: u64) -> Result<()> {
    if part.name == PARTS[0].name {
        println!("{:#?}", program::generate(seed));
    }
    match (part.run)(seed) {
        Ok(passed) => {
            println!("seed {seed}, hash {:016x}: all is well", passed.hash);
            Ok(())
        }
        Err(Finding { why, hash, events }) => {
            for (index, event) in events.iter().enumerate() {
                println!("{index:5} {event:?}");
            }
            bail!("seed {seed}, hash {hash:016x}: {why}")
        }
    }
}

/// The jobs of programs panic by the thousand.
fn silence_planned_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload().downcast_ref::<String>();
        if !payload.is_some_and(|message| message.starts_with("job ")) {
            loud(info);
        }
    }));
}
