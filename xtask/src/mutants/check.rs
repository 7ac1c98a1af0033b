//! The checks that must find a fault: tests, models and the explorer.
//!
//! Each returns how it found the fault, or `None` if it passed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::By;
use super::sandbox::Program;
use super::table::{Fault, Model};
use super::watch::{self, Ending};

/// More than there are cores, since hanging tests only wait.
const TEST_THREADS: &str = "8";

/// The bound on preemptions in models of loom. Two miss known faults that three find.
const PREEMPTIONS: (&str, &str) = ("LOOM_MAX_PREEMPTIONS", "3");

/// Seeds within which the explorer must find a fault.
const SEEDS: &str = "2000";

/// The signal of `timeout`.
const KILL: i32 = 9;

/// The arguments of cargo that build the program of a check, and the model checker that the program
/// is for.
pub(super) fn build_arguments(by: By, fault: &Fault) -> (String, Option<&str>) {
    match (by, &fault.model) {
        (By::Models, Some(Model { library, checker, .. })) => {
            let words = format!("test --release --no-run --test {checker} -p matou-{library}");
            (words, Some(checker))
        }
        (By::Explorer, _) => ("build -p matou-explore --bin matou-explore".to_owned(), None),
        _ => (format!("test --no-run --test it -p {}", fault.package), None),
    }
}

/// Runs the check of a fault. Tests that use more CPU time than `cpu_limit` hang.
pub(super) fn run(
    by: By,
    fault: &Fault,
    program: &Program,
    cpu_limit: Duration,
) -> Result<Option<String>> {
    match by {
        By::Tests => Ok(run_tests(program, Some(&fault.name), &fault.tests, cpu_limit)?.0),
        By::Models => run_model(program, fault),
        By::Explorer => explore(program, &fault.name),
    }
}

/// Shows that each filter names tests, and that they pass without any edit. Returns a limit on the
/// CPU time that none of them reaches unless it hangs.
pub(super) fn check_tests(tests: &Program, filters: &BTreeSet<&String>) -> Result<Duration> {
    for filter in filters {
        let output = tests.command(None).arg(filter).arg("--list").output()?;
        let names_tests = String::from_utf8_lossy(&output.stdout).contains(": test");
        ensure!(names_tests, "the filter {filter} names no test");
    }
    let (failure, cpu) = run_tests(tests, None, filters, Duration::MAX)?;
    ensure!(failure.is_none(), "without any edit, tests fail: {failure:?}");
    Ok(cpu + Duration::from_secs(2))
}

/// Runs the tests of the filters. Returns how they failed, if they did, and their CPU time.
fn run_tests<S: AsRef<OsStr>>(
    tests: &Program,
    fault: Option<&str>,
    filters: impl IntoIterator<Item = S>,
    cpu_limit: Duration,
) -> Result<(Option<String>, Duration)> {
    let mut command = tests.command(fault);
    command.args(filters).env("RUST_TEST_THREADS", TEST_THREADS);
    let (ending, cpu) = watch::run(&mut command, cpu_limit)?;
    let failure = match ending {
        Ending::Exited(status) => (!status.success()).then(|| format!("found: {status}")),
        Ending::TestFailed(name) => Some(format!("found by {name}")),
        Ending::Hung => Some("found: the check hangs".to_owned()),
    };
    Ok((failure, cpu))
}

fn run_model(program: &Program, fault: &Fault) -> Result<Option<String>> {
    let Some(model) = &fault.model else { return Ok(None) };
    let mut command = program.command(Some(&fault.name));
    command.arg(&model.test).env(PREEMPTIONS.0, PREEMPTIONS.1);
    Ok(failure(&command.output()?))
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
        environment.push((PREEMPTIONS.0, PREEMPTIONS.1.to_owned()));
    }
    environment
}

/// Explores until a seed fails. That seed must fail again, and pass without the fault.
fn explore(explorer: &Program, fault: &str) -> Result<Option<String>> {
    let run = |fault: Option<&str>, arguments: &[&str]| -> Result<(Output, String)> {
        let mut command = explorer.command(fault);
        let output = command.args(["--suite", "programs"]).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output, text))
    };
    let (output, text) = run(Some(fault), &["--threads", "1", "--seeds", SEEDS])?;
    let Some((seed, finding)) = finding(&text) else { return Ok(failure(&output)) };
    let (_, again) = run(Some(fault), &["--seed", seed])?;
    ensure!(again.contains(finding), "not replayed: {finding}\n{again}");
    let (output, without) = run(None, &["--seed", seed])?;
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
