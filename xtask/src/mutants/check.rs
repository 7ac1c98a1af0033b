//! The checks that must find a fault: tests, models and the explorer.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::sandbox::{Ended, Program, Sandbox, run_at_most};
use super::table::Model;

/// The time after which one test counts as hanging, which the tests read from the environment.
const TEST_SECONDS: &str = "3";

/// More than there are cores, since hanging tests only wait.
const TEST_THREADS: &str = "8";

/// The time after which a test binary, a model or the explorer counts as hanging.
const CHECK_MAX: Duration = Duration::from_secs(60);

/// Seeds within which the explorer must find a fault.
const SEEDS: &str = "2000";

/// How a check of an edited copy ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The names of the failed tests.
    Failed(Vec<String>),
    /// The test binary failed without naming a test.
    Crashed(ExitStatus),
    Hung,
    /// The explorer's words about the seed that failed twice.
    Replayed(String),
    Missed,
}

/// Shows that each filter names tests of a package, and that they pass.
pub(super) fn check_tests(sandbox: &Sandbox, package: &str, filters: &[String]) -> Result<()> {
    let tests = build_tests(sandbox, package, filters)?;
    for filter in filters {
        let output = tests.command().arg(filter).arg("--list").output()?;
        let names_tests = String::from_utf8_lossy(&output.stdout).contains(": test");
        ensure!(names_tests, "the filter {filter} names no test of {package}");
    }
    match run_built_tests(&tests, filters)? {
        Verdict::Missed => Ok(()),
        verdict => bail!("without any edit, the tests of {package} fail: {verdict}"),
    }
}

/// Builds and runs the integration tests that the filters name.
pub(super) fn run_tests(sandbox: &Sandbox, package: &str, filters: &[String]) -> Result<Verdict> {
    run_built_tests(&build_tests(sandbox, package, filters)?, filters)
}

fn build_tests(sandbox: &Sandbox, package: &str, filters: &[String]) -> Result<Program> {
    sandbox.narrow_tests(package, filters)?;
    let built = sandbox.build(sandbox.cargo(&format!("test --no-run --test it -p {package}")));
    sandbox.narrow_tests(package, &[])?;
    built
}

fn run_built_tests(tests: &Program, filters: &[String]) -> Result<Verdict> {
    let mut command = tests.command();
    command.args(filters);
    command.env("MATOU_TEST_SECONDS", TEST_SECONDS).env("RUST_TEST_THREADS", TEST_THREADS);
    Ok(Verdict::of(run_at_most(&mut command, CHECK_MAX)?))
}

/// Builds and runs a model.
pub(super) fn run_model(sandbox: &Sandbox, model: &Model) -> Result<Verdict> {
    let Model { library, checker, test } = model;
    let words = format!("test --release --no-run --test {checker} -p matou-{library}");
    let environment = model_environment(checker, &sandbox.target_of(checker));
    let mut build = sandbox.cargo(&words);
    build.envs(environment.clone());
    let mut command = sandbox.build(build)?.command();
    command.arg(test).envs(environment);
    Ok(Verdict::of(run_at_most(&mut command, CHECK_MAX)?))
}

/// The environment of builds and runs of a model checker.
pub(crate) fn model_environment(checker: &str, target: &Path) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("CARGO_TARGET_DIR", target.display().to_string()),
        ("CARGO_PROFILE_RELEASE_DEBUG", "false".to_owned()),
        ("RUSTFLAGS", format!("--cfg {checker}")),
    ];
    if checker == "loom" {
        // Two preemptions miss known faults that three find.
        environment.push(("LOOM_MAX_PREEMPTIONS", "3".to_owned()));
    }
    environment
}

/// Builds the explorer without any edit, and keeps a copy of it.
pub(super) fn copy_of_explorer(sandbox: &Sandbox) -> Result<PathBuf> {
    let explorer = build_explorer(sandbox)?;
    let copy = explorer.path.with_file_name("matou-explore-unedited");
    fs::copy(&explorer.path, &copy).context("failed to copy the explorer")?;
    Ok(copy)
}

fn build_explorer(sandbox: &Sandbox) -> Result<Program> {
    sandbox.build(sandbox.cargo("build -p matou-explore --bin matou-explore"))
}

/// Explores until a seed fails. That seed must fail again, and pass with the unedited explorer.
pub(super) fn explore(sandbox: &Sandbox, unedited: &Path) -> Result<Verdict> {
    let explorer = build_explorer(sandbox)?;
    let mut command = explorer.command();
    command.args(["--part", "programs", "--threads", "1", "--seeds", SEEDS]);
    let Some(ended) = run_at_most(&mut command, CHECK_MAX)? else { return Ok(Verdict::Hung) };
    let Some((seed, finding)) = finding(&ended.output) else {
        return Ok(if ended.status.success() {
            Verdict::Missed
        } else {
            Verdict::Crashed(ended.status)
        });
    };
    let replay = |mut explorer: Command| {
        explorer.args(["--part", "programs", "--seed", seed]);
        run_at_most(&mut explorer, CHECK_MAX)?.context("the explorer exceeds its time")
    };
    let again = replay(explorer.command())?;
    ensure!(again.output.contains(finding), "not replayed: {finding}\n{}", again.output);
    let without = replay(Command::new(unedited))?;
    ensure!(without.status.success(), "seed {seed} fails without the edit:\n{}", without.output);
    Ok(Verdict::Replayed(finding.to_owned()))
}

/// Finds the words `seed N, hash H: why`, and the seed in them.
fn finding(output: &str) -> Option<(&str, &str)> {
    output.lines().find_map(|line| {
        let finding = &line[line.find("seed ")?..];
        let (seed, rest) = finding.strip_prefix("seed ")?.split_once(", hash ")?;
        rest.contains(": ").then_some((seed, finding))
    })
}

impl Verdict {
    /// Reads lines of the form `test NAME ... FAILED`.
    fn of(ended: Option<Ended>) -> Verdict {
        let Some(Ended { output, status }) = ended else { return Verdict::Hung };
        if status.success() {
            return Verdict::Missed;
        }
        let failed = |line: &str| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            Some(name.rsplit("::").next().unwrap_or(name).to_owned())
        };
        let failed: Vec<String> = output.lines().filter_map(failed).collect();
        if failed.is_empty() { Verdict::Crashed(status) } else { Verdict::Failed(failed) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Failed(tests) => {
                write!(f, "found by {}", tests[0])?;
                match tests.len() - 1 {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Verdict::Crashed(status) => match status.signal() {
                Some(signal) => write!(f, "found: killed by signal {signal}"),
                None => write!(f, "found: {status}"),
            },
            Verdict::Hung => f.write_str("found: the check hangs"),
            Verdict::Replayed(finding) => write!(f, "found and replayed: {finding}"),
            Verdict::Missed => f.write_str("NOT FOUND"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_failed_tests_is_named() {
        let verdict = |output: &str, status| {
            Verdict::of(Some(Ended { output: output.into(), status: ExitStatus::from_raw(status) }))
        };
        let output = "test r01::a ... ok\ntest r01::b ... FAILED\ntest r02::c ... FAILED\n";
        assert_eq!(verdict(output, 101 << 8).to_string(), "found by b and 1 more");
        assert_eq!(verdict("test r01::a ...", 6).to_string(), "found: killed by signal 6");
        assert!(matches!(verdict(output, 0), Verdict::Missed));
        assert!(matches!(Verdict::of(None), Verdict::Hung));
    }

    #[test]
    fn the_seed_of_a_finding_is_read() {
        let output = "run\nprograms broke a rule with seed 12, hash 0ab: R3 is broken\n";
        assert_eq!(finding(output), Some(("12", "seed 12, hash 0ab: R3 is broken")));
        assert_eq!(finding("seed 12: all is well"), None);
    }
}
