//! The checks that must find a fault: tests, models and the explorer.
//!
//! Each returns how it found the fault, or `None` if it passed.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use super::sandbox::{Program, Sandbox};
use super::table::Model;

/// The time after which one test counts as hanging, which the tests read from the environment.
const TEST_SECONDS: &str = "3";

/// More than there are cores, since hanging tests only wait.
const TEST_THREADS: &str = "8";

/// Seeds within which the explorer must find a fault.
const SEEDS: &str = "2000";

/// The signal of `timeout`.
const KILL: i32 = 9;

/// Shows that each filter names tests of a package, and that they pass.
pub(super) fn check_tests(sandbox: &Sandbox, package: &str, filters: &[String]) -> Result<()> {
    let tests = build_tests(sandbox, package, filters)?;
    for filter in filters {
        let output = tests.command().arg(filter).arg("--list").output()?;
        let names_tests = String::from_utf8_lossy(&output.stdout).contains(": test");
        ensure!(names_tests, "the filter {filter} names no test of {package}");
    }
    let failure = run_built_tests(&tests, filters)?;
    ensure!(failure.is_none(), "without any edit, tests of {package} fail: {failure:?}");
    Ok(())
}

/// Builds and runs the integration tests that the filters name.
pub(super) fn run_tests(
    sandbox: &Sandbox,
    package: &str,
    filters: &[String],
) -> Result<Option<String>> {
    run_built_tests(&build_tests(sandbox, package, filters)?, filters)
}

fn build_tests(sandbox: &Sandbox, package: &str, filters: &[String]) -> Result<Program> {
    sandbox.narrow_tests(package, filters)?;
    let built = sandbox.build(sandbox.cargo(&format!("test --no-run --test it -p {package}")));
    sandbox.narrow_tests(package, &[])?;
    built
}

fn run_built_tests(tests: &Program, filters: &[String]) -> Result<Option<String>> {
    let mut command = tests.command();
    command.args(filters);
    command.env("MATOU_TEST_SECONDS", TEST_SECONDS).env("RUST_TEST_THREADS", TEST_THREADS);
    Ok(failure(&command.output()?))
}

/// Builds and runs a model.
pub(super) fn run_model(sandbox: &Sandbox, model: &Model) -> Result<Option<String>> {
    let Model { library, checker, test } = model;
    let words = format!("test --release --no-run --test {checker} -p matou-{library}");
    let environment = model_environment(checker, &sandbox.target_of(checker));
    let mut build = sandbox.cargo(&words);
    build.envs(environment.clone());
    let mut command = sandbox.build(build)?.command();
    Ok(failure(&command.arg(test).envs(environment).output()?))
}

/// The environment of builds and runs of a model checker.
pub(crate) fn model_environment(checker: &str, target: &Path) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("CARGO_TARGET_DIR", target.display().to_string()),
        ("CARGO_PROFILE_RELEASE_DEBUG", "false".to_owned()),
        // More optimization takes longer to compile than it saves.
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1".to_owned()),
        ("RUSTFLAGS", format!("--cfg {checker}")),
    ];
    if checker == "loom" {
        // Two preemptions miss known faults that three find.
        environment.push(("LOOM_MAX_PREEMPTIONS", "3".to_owned()));
    }
    environment
}

/// Builds the explorer without any edit, and keeps a copy of it.
pub(super) fn copy_of_explorer(sandbox: &Sandbox) -> Result<Program> {
    let mut explorer = build_explorer(sandbox)?;
    let copy = explorer.path.with_file_name("matou-explore-unedited");
    fs::copy(&explorer.path, &copy).context("failed to copy the explorer")?;
    explorer.path = copy;
    Ok(explorer)
}

fn build_explorer(sandbox: &Sandbox) -> Result<Program> {
    sandbox.build(sandbox.cargo("build -p matou-explore --bin matou-explore"))
}

/// Explores until a seed fails. That seed must fail again, and pass with the unedited explorer.
pub(super) fn explore(sandbox: &Sandbox, unedited: &Program) -> Result<Option<String>> {
    let explorer = build_explorer(sandbox)?;
    let run = |mut command: Command, arguments: &[&str]| -> Result<(Output, String)> {
        let output = command.args(["--suite", "programs"]).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output, text))
    };
    let (output, text) = run(explorer.command(), &["--threads", "1", "--seeds", SEEDS])?;
    let Some((seed, finding)) = finding(&text) else { return Ok(failure(&output)) };
    let (_, again) = run(explorer.command(), &["--seed", seed])?;
    ensure!(again.contains(finding), "not replayed: {finding}\n{again}");
    let (output, without) = run(unedited.command(), &["--seed", seed])?;
    ensure!(output.status.success(), "seed {seed} fails without the edit:\n{without}");
    Ok(Some(format!("found and replayed: {finding}")))
}

/// Finds the words `seed N, hash H: why`, and the seed in them.
fn finding(output: &str) -> Option<(&str, &str)> {
    output.lines().find_map(|line| {
        let finding = &line[line.find("seed ")?..];
        let (seed, rest) = finding.strip_prefix("seed ")?.split_once(", hash ")?;
        rest.contains(": ").then_some((seed, finding))
    })
}

/// Describes how a process failed, with the first of its lines `test NAME ... FAILED`.
fn failure(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("test "));
    let names: Vec<&str> = lines.filter_map(|line| line.strip_suffix(" ... FAILED")).collect();
    Some(match (&names[..], output.status.signal()) {
        ([first], ..) => format!("found by {first}"),
        ([first, more @ ..], ..) => format!("found by {first} and {} more", more.len()),
        ([], Some(KILL)) => "found: the check hangs".to_owned(),
        ([], ..) => format!("found: {}", output.status),
    })
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_first_of_the_failed_tests_is_named() {
        let failure = |text: &str, status| {
            let status = ExitStatus::from_raw(status);
            failure(&Output { status, stdout: text.into(), stderr: Vec::new() })
        };
        let text = "test r01::a ... ok\ntest r01::b ... FAILED\ntest r02::c ... FAILED\n";
        assert_eq!(failure(text, 101 << 8).as_deref(), Some("found by r01::b and 1 more"));
        assert_eq!(failure(text, 0), None);
        assert_eq!(failure("", KILL).as_deref(), Some("found: the check hangs"));
        let aborted = failure("test r01::a ...", 6).expect("it failed");
        assert!(aborted.starts_with("found: signal: 6"), "{aborted}");
    }

    #[test]
    fn the_seed_of_a_finding_is_read() {
        let output = "run\nprograms failed with seed 12, hash 0ab: R3 is broken\n";
        assert_eq!(finding(output), Some(("12", "seed 12, hash 0ab: R3 is broken")));
        assert_eq!(finding("programs 12 runs, 345 events, digest 0ab, 0.1 s"), None);
    }
}
