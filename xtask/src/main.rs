//! The chores of the workspace, as `cargo xtask CHORE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

mod bench;
mod ci;
mod explore;
mod loadtest;
mod mutants;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    Bench(bench::Options),
    Ci(ci::Options),
    Explore(explore::Options),
    Loadtest(loadtest::Options),
    Mutants(mutants::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Bench(options) => bench::run(&options),
        Chore::Ci(options) => ci::run(&options),
        Chore::Explore(options) => explore::run(&options),
        Chore::Loadtest(options) => loadtest::run(&options),
        Chore::Mutants(options) => mutants::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace, which tells nothing that the words do not.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
