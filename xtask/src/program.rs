//! Subcommands that are programs of their own. Their arguments, `--help` included, are passed on.
//!
//! The program replaces this process, so signals and the exit code need no forwarding.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::cargo;

/// The arguments of a program.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Forwarded {
    /// The arguments of the program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Forwarded {
    pub(crate) fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }
}

impl<const N: usize> From<[&str; N]> for Forwarded {
    fn from(arguments: [&str; N]) -> Forwarded {
        Forwarded { arguments: arguments.map(str::to_owned).into() }
    }
}

/// `cargo xtask loadtest`: many clients against the echo server, and the cost for the server.
pub(crate) fn loadtest(arguments: &Forwarded) -> Result<()> {
    exec(&mut cargo_run("--quiet --package matou-loadgen", arguments))
}

/// `cargo xtask bench`: matou compared with other runtimes.
///
/// The package is a workspace of its own, so users and tests of matou never compile the other
/// runtimes. Counting instructions needs matou alone, which builds in a third of the time.
pub(crate) fn bench(arguments: &Forwarded) -> Result<()> {
    let package = "--release --locked --manifest-path tools/bench/Cargo.toml --target-dir target";
    let counts_only = arguments.arguments.iter().any(|argument| argument == "--counts-only");
    let peers = if counts_only { " --no-default-features" } else { "" };
    exec(&mut cargo_run(&format!("{package}{peers}"), arguments))
}

/// `cargo run` for a package. `options` are separated by single spaces.
pub(crate) fn cargo_run(options: &str, arguments: &Forwarded) -> Command {
    let mut command = cargo();
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).arg("run");
    command.args(options.split(' ')).arg("--").args(&arguments.arguments);
    command
}

/// Runs a command in place of this process. Returns only if that fails.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    bail!("failed to run cargo: {}", command.exec())
}
