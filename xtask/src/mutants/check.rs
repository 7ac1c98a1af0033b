//! The checks that must find a fault: tests, models and the explorer.
//!
//! Each returns how it found the fault, or `None` if it passed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Error, Result, ensure};

use super::By;
use super::sandbox::Program;
use super::table::Fault;
use super::watch::{self, Ended, Ending};

/// More than there are cores, since hanging tests only wait.
const TEST_THREADS: &str = "8";

/// The bound on preemptions in models of loom. Two miss known faults that three find.
const PREEMPTIONS: (&str, &str) = ("LOOM_MAX_PREEMPTIONS", "3");

/// CPU time that most tests do not need.
const USUAL_CPU: Duration = Duration::from_secs(5);

/// A limit on the CPU time of a model that finds a failing schedule.
const MODEL_CPU: Duration = Duration::from_secs(60);

/// Seeds within which the explorer must find a fault.
const SEEDS: &str = "2000";

/// More than the CPU time that these seeds need without a fault.
const SEEDS_CPU: Duration = Duration::from_secs(120);

/// The signal of `timeout`.
const KILL: i32 = 9;

/// Runs the check of a fault.
pub(super) fn run(by: By, fault: &Fault, program: &Program) -> Result<Option<String>> {
    match by {
        By::Tests => run_tests(program, fault),
        By::Models => run_model(program, fault),
        By::Explorer => explore(program, &fault.name),
    }
}

/// Shows that the tests that must find these faults pass without any edit. If `all` faults are
/// checked, all models must pass.
pub(super) fn passes_without_faults(
    program: &Program,
    by: By,
    faults: &[&Fault],
    all: bool,
) -> Result<()> {
    match by {
        By::Tests if !faults.is_empty() => {
            let filters: BTreeSet<&String> = faults.iter().flat_map(|fault| &fault.tests).collect();
            for filter in &filters {
                let output = program.command(None).arg(filter).arg("--list").output()?;
                let names_tests = String::from_utf8_lossy(&output.stdout).contains(": test");
                ensure!(names_tests, "the filter {filter} names no test");
            }
            without_fault(&mut test_command(program, None, &filters)).map(drop)
        }
        By::Models if program.is_model() => {
            let models = faults.iter().filter_map(|fault| fault.model.as_ref());
            let filters = models.map(|model| &model.test).filter(|_| !all).collect();
            let output = without_fault(&mut model_command(program, None, filters))?.output;
            println!("{}: all models pass without a fault\n{output}", program.key.package);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Runs a check without any edit, which must pass.
fn without_fault(command: &mut Command) -> Result<Ended> {
    let ended = watch::run(command, Duration::MAX)?;
    let failure = failure(&ended.ending)?;
    ensure!(failure.is_none(), "without any edit, the check fails: {failure:?}\n{}", ended.output);
    Ok(ended)
}

fn run_tests(tests: &Program, fault: &Fault) -> Result<Option<String>> {
    let run = |cpu_limit| {
        let mut command = test_command(tests, Some(&fault.name), &fault.tests);
        Ok::<_, Error>(watch::run(&mut command, cpu_limit)?.ending)
    };
    let mut ending = run(USUAL_CPU)?;
    if ending == Ending::Spins {
        let limit = 2 * without_fault(&mut test_command(tests, None, &fault.tests))?.cpu;
        if limit > USUAL_CPU {
            ending = run(limit + USUAL_CPU)?;
        }
    }
    failure(&ending)
}

fn test_command<S: AsRef<OsStr>>(
    tests: &Program,
    fault: Option<&str>,
    filters: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = tests.command(fault);
    command.args(filters).env("RUST_TEST_THREADS", TEST_THREADS);
    command
}

fn run_model(program: &Program, fault: &Fault) -> Result<Option<String>> {
    let Some(model) = &fault.model else { return Ok(None) };
    let mut command = model_command(program, Some(&fault.name), [&model.test].into());
    match watch::run(&mut command, MODEL_CPU)?.ending {
        // A model with too many schedules shows nothing.
        Ending::Spins => Ok(None),
        ending => failure(&ending),
    }
}

fn model_command(program: &Program, fault: Option<&str>, filters: BTreeSet<&String>) -> Command {
    let mut command = program.command(fault);
    command.args(filters).env(PREEMPTIONS.0, PREEMPTIONS.1);
    command
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
    let run = |fault: Option<&str>, seeds: &[&str]| {
        watch::run(&mut explore_command(explorer, fault, seeds), SEEDS_CPU)
    };
    let found = run(Some(fault), &["--threads", "1", "--seeds", SEEDS])?;
    let Some((seed, finding)) = finding(&found.output) else {
        // A run that does not end has no seed to replay.
        let shows_nothing = matches!(found.ending, Ending::Hangs | Ending::Spins);
        return if shows_nothing { Ok(None) } else { failure(&found.ending) };
    };
    let again = run(Some(fault), &["--seed", seed])?.output;
    ensure!(again.contains(finding), "not replayed: {finding}\n{again}");
    let without = run(None, &["--seed", seed])?;
    let passes = failure(&without.ending)?.is_none();
    ensure!(passes, "seed {seed} fails without the edit:\n{}", without.output);
    Ok(Some(format!("found and replayed: {finding}")))
}

fn explore_command(explorer: &Program, fault: Option<&str>, seeds: &[&str]) -> Command {
    let mut command = explorer.command(fault);
    command.args(["--suite", "programs"]).args(seeds);
    command
}

/// Finds the words `seed N, hash H: why`, and the seed in them.
fn finding(output: &str) -> Option<(&str, &str)> {
    output.lines().find_map(|line| {
        let finding = &line[line.find("seed ")?..];
        let (seed, rest) = finding.strip_prefix("seed ")?.split_once(", hash ")?;
        rest.contains(": ").then_some((seed, finding))
    })
}

/// Describes how a check failed, if it did.
fn failure(ending: &Ending) -> Result<Option<String>> {
    Ok(match ending {
        Ending::TestFailed(name) => Some(format!("found by {name}")),
        Ending::Hangs | Ending::Spins => Some("found: the check hangs".to_owned()),
        Ending::Exited(status) if status.success() => None,
        Ending::Exited(status) => {
            ensure!(status.signal() != Some(KILL), "the check was killed at the time limit");
            Some(format!("found: {status}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn only_a_check_that_ended_by_itself_shows_something() {
        let exited = |status| failure(&Ending::Exited(ExitStatus::from_raw(status)));
        assert_eq!(exited(0).expect("it ended"), None);
        let aborted = exited(6).expect("it ended").expect("it failed");
        assert!(aborted.starts_with("found: signal: 6"), "{aborted}");
        assert!(exited(KILL).is_err(), "it did not end");
    }

    #[test]
    fn the_seed_of_a_finding_is_read() {
        let output = "run\nprograms failed with seed 12, hash 0ab: R3 is broken\n";
        assert_eq!(finding(output), Some(("12", "seed 12, hash 0ab: R3 is broken")));
        assert_eq!(finding("programs 12 runs, 345 events, digest 0ab, 0.1 s"), None);
    }
}
