//! The chores of the workspace, as `cargo xtask CHORE`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "a command line tool speaks on its standard output"
)]

mod loadtest;
mod workspace;

use anyhow::Result;
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
    Loadtest(loadtest::Options),
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::Loadtest(options) => loadtest::run(&options),
    }
}
