//! The tasks of the workspace, as `cargo xtask TASK`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool prints to its standard output")]

mod ci;
mod explore;
mod mutants;
mod program;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures matou and other runtimes; see `cargo xtask bench --help`.
    Bench(program::Forwarded),
    Ci(ci::Options),
    /// Runs random programs under many seeds; see `cargo xtask explore --help`.
    Explore(program::Forwarded),
    /// Loads a server and checks every byte; see `cargo xtask loadtest --help`.
    Loadtest(program::Forwarded),
    Mutants(mutants::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Bench(arguments) => program::bench(&arguments),
        Task::Ci(options) => ci::run(&options),
        Task::Explore(arguments) => explore::run(&arguments),
        Task::Loadtest(arguments) => program::loadtest(&arguments),
        Task::Mutants(options) => mutants::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `Debug` would add a backtrace, which is of no use for these errors.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
