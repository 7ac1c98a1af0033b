//! Runs commands, passes their output on, and adds up the results that test runners report.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::sections::Outcome;
use crate::workspace::{self, Workspace};

/// The workspace and the test results so far.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) workspace: Workspace,
    totals: Totals,
    /// The output so far, if it is not printed at once.
    kept: Option<Vec<u8>>,
}

impl Runner {
    /// With `keep`, the output is kept until it is asked for, instead of printed at once.
    pub(super) fn new(workspace: Workspace, keep: bool) -> Runner {
        Runner { workspace, totals: Totals::default(), kept: keep.then(Vec::new) }
    }

    /// The output that was kept.
    pub(super) fn into_output(self) -> String {
        String::from_utf8_lossy(&self.kept.unwrap_or_default()).into_owned()
    }

    /// Prints or keeps a line.
    pub(super) fn print(&mut self, line: &str) {
        match &mut self.kept {
            Some(kept) => kept.extend_from_slice(format!("{line}\n").as_bytes()),
            None => println!("{line}"),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// A cargo command in the workspace's root, from words separated by spaces.
    pub(super) fn cargo(&self, words: &str) -> Command {
        let mut command = workspace::cargo();
        command.args(words.split_whitespace()).current_dir(self.workspace.root());
        command
    }

    /// A separate target directory, for builds with other flags.
    pub(super) fn target_below(&self, name: &str) -> PathBuf {
        self.workspace.target().join(name)
    }

    /// Runs a cargo command to its end, from words separated by spaces.
    pub(super) fn run_cargo(&mut self, words: &str) -> Result<Outcome> {
        let mut command = self.cargo(words);
        self.run(&mut command)
    }

    /// Runs another command of this program.
    pub(super) fn run_xtask(&mut self, words: &str) -> Result<Outcome> {
        // Do not start it by its path: cargo may have put a newer program there in the meantime.
        let mut command = Command::new("/proc/self/exe");
        command.args(words.split_whitespace()).current_dir(self.workspace.root());
        self.run(&mut command)
    }

    /// Runs a command to its end, and counts the tests that it reports.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<Outcome> {
        let description = describe(command);
        self.print(&format!("$ {description}"));
        let (output, input) = io::pipe()?;
        if self.kept.is_some() {
            command.stderr(input.try_clone()?);
        }
        command.stdin(Stdio::null()).stdout(input);
        let child = command.spawn().with_context(|| format!("failed to run {description}"));
        // Drop the writing ends that the command holds: the end of the output is awaited below.
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut child = child?;
        let read = self.pass_on(BufReader::new(output));
        let status = child.wait()?;
        read?;
        ensure!(status.success(), "{description} ended with {status}");
        Ok(Outcome::Passed)
    }

    fn pass_on(&mut self, mut output: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            match &mut self.kept {
                Some(kept) => kept.extend_from_slice(&line),
                None => io::stdout().write_all(&line)?,
            }
            self.totals.add_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        io::stdout().flush()
    }
}

/// Tests that passed and failed, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    /// Adds a line of the form `test result: ok. 3 passed; 0 failed; 0 ignored; ..`.
    fn add_line(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("test result: ") else {
            return;
        };
        let Some((_, counts)) = rest.split_once(". ") else {
            return;
        };
        for count in counts.split(';') {
            match count.trim().split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The command as typed in a shell, with the environment variables that were set for it.
fn describe(command: &Command) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={:?}", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    let program = PathBuf::from(command.get_program());
    let name = match program.file_name() {
        // `/proc/self/exe`, which is this program.
        Some(name) if name == "exe" => "cargo xtask".into(),
        Some(name) => name.to_string_lossy().into_owned(),
        None => program.display().to_string(),
    };
    words.push(name);
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_several_runs_are_summed() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests\n",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
            "test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out\n",
        ] {
            totals.add_line(line);
        }
        assert_eq!(totals.to_string(), "7 passed, 2 failed");
    }

    #[test]
    fn lines_that_only_resemble_a_result_count_nothing() {
        let mut totals = Totals::default();
        totals.add_line("test result: ok\n");
        totals.add_line("3 passed; 4 failed\n");
        assert_eq!(totals, Totals::default());
    }

    #[test]
    fn a_command_is_described_with_its_environment() {
        let mut command = Command::new("/somewhere/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(describe(&command), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }
}
