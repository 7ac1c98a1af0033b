//! Random programs under matou's test mode, judged by a naive model of its rules.
//!
//! `cargo xtask explore` runs it; see `docs/testing.md`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

mod model;
mod program;
mod record;
mod resource;
mod trial;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use trial::Finding;

/// Runs random programs and judges them.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone, and tell all of it.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    silence_planned_panics();
    let begun = Instant::now();
    let seeds = match options.seed {
        Some(seed) => seed..seed + 1,
        None => options.first..options.first + options.seeds,
    };
    for seed in seeds.clone() {
        if let Err(finding) = trial::explore(seed) {
            let Finding { why, hash, events, .. } = finding;
            println!("seed {seed}, hash {hash:016x}: {why}");
            if options.seed.is_some() {
                println!("{:#?}", program::generate(seed));
                for (index, event) in events.iter().enumerate() {
                    println!("{index:4} {event:?}");
                }
            }
            return ExitCode::FAILURE;
        }
    }
    println!("{} seeds in {:?}", seeds.end - seeds.start, begun.elapsed());
    ExitCode::SUCCESS
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
