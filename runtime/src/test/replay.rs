//! Replaying a failed run from the environment variable that its report names.

use std::cell::Cell;
use std::env;
use std::fmt::Write;
use std::thread;

use super::Trial;

/// The environment variable that selects the seed to run.
const VARIABLE: &str = "MATOU_SEED";

thread_local! {
    /// The number of checks that this thread has made. The test runner gives each test a thread.
    static CHECKS: Cell<u32> = const { Cell::new(0) };
}

/// The value of the variable: `SEED`, or `SEED/HASH`, or `SEED/HASH/CHECK`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replay {
    pub(super) seed: u64,
    failure: Option<ExpectedFailure>,
}

/// The failure that a replay is expected to reproduce.
#[derive(Debug, PartialEq, Eq)]
struct ExpectedFailure {
    /// The hash of the run.
    hash: u64,
    /// The number of the check within its test, from 1. A line number would change while the user
    /// adds code to debug the failure.
    check: u32,
}

impl Replay {
    /// Returns whether to run the check with that number. A seed without a hash selects all.
    pub(super) fn selects(&self, check: u32) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.check == check)
    }
}

/// Counts a check, and returns its number within the current test, from 1.
pub(super) fn next_check() -> u32 {
    CHECKS.set(CHECKS.get() + 1);
    CHECKS.get()
}

/// Returns the replay that the environment variable requests.
///
/// # Panics
///
/// Panics if the value is invalid. To run all seeds instead would look like a success.
#[track_caller]
pub(super) fn requested() -> Option<Replay> {
    let value = env::var(VARIABLE).ok()?;
    let replay = parse(&value);
    assert!(
        replay.is_some(),
        "invalid value {value:?} of {VARIABLE}, expected SEED, SEED/HASH or SEED/HASH/CHECK"
    );
    replay
}

fn parse(value: &str) -> Option<Replay> {
    let mut parts = value.split('/');
    let seed = parts.next()?.parse().ok()?;
    let hash = parts.next().map(|hash| u64::from_str_radix(hash, 16)).transpose().ok()?;
    let check = parts.next().map(str::parse).transpose().ok()?;
    let failure = hash.map(|hash| ExpectedFailure { hash, check: check.unwrap_or(1) });
    parts.next().is_none().then_some(Replay { seed, failure })
}

/// Returns the setting that replays a run: the inverse of [`parse`].
fn variable(seed: u64, hash: u64, check: u32) -> String {
    let check = if check > 1 { format!("/{check}") } else { String::new() };
    format!("{VARIABLE}={seed}/{hash:016x}{check}")
}

/// Checks the result of a replay.
///
/// # Panics
///
/// Panics if the run failed, or differs from the run to replay.
#[track_caller]
pub(super) fn check_replay(trial: &Trial<()>, simulated: bool, check: u32, replay: &Replay) {
    let seed = replay.seed;
    if !simulated {
        return expect_success(trial, seed, "on real threads");
    }
    let difference =
        replay.failure.as_ref().and_then(|failure| difference(trial, seed, failure.hash));
    match (&trial.outcome, difference) {
        (Ok(()), None) => {}
        (Ok(()), Some(difference)) => panic!("{difference}"),
        (Err(error), None) => panic!("{}", failure(trial, check, seed, &error.to_string())),
        (Err(error), Some(difference)) => {
            panic!("{}\n\n{difference}", failure(trial, check, seed, &error.to_string()))
        }
    }
}

/// Describes how a replay differs from the failure with the hash `expected`.
fn difference(trial: &Trial<()>, seed: u64, expected: u64) -> Option<String> {
    if trial.hash != expected {
        return Some(format!(
            "seed {seed} made another run, with the hash {:016x} and not {expected:016x}: the \
             program has changed since, or is not repeatable; {VARIABLE}={seed} runs the seed \
             whatever its hash",
            trial.hash
        ));
    }
    trial.outcome.is_ok().then(|| {
        format!(
            "seed {seed} made the same run, event by event, but did not fail: the error is fixed, \
             or depends on something outside the simulation; {VARIABLE}={seed} runs the seed \
             whatever its hash"
        )
    })
}

/// Checks a run and its repetition.
///
/// # Panics
///
/// Panics if the run failed, or if the two differ.
#[track_caller]
pub(super) fn check_repetition(trial: &Trial<()>, again: &Trial<()>, check: u32, seed: u64) {
    let result = |trial: &Trial<()>| match &trial.outcome {
        Ok(()) => "it succeeded".to_owned(),
        Err(error) => error.to_string(),
    };
    let (first, second) = (result(trial), result(again));
    if trial.hash != again.hash || first != second {
        let hashes = match trial.hash == again.hash {
            true => format!("its hash was {:016x} twice, but its result differed", trial.hash),
            false => format!("its hash was {:016x}, then {:016x}", trial.hash, again.hash),
        };
        panic!(
            "seed {seed} is not repeatable: {hashes}. It depends on something outside the \
             simulation: a clock, a thread, an address, the order of a hash map, a static\n\
             the first time: {first}\nthe second time: {second}"
        );
    }
    if trial.outcome.is_err() {
        panic!("{}", failure(again, check, seed, &first));
    }
}

/// Checks a run on real threads, which cannot be compared with another one.
///
/// # Panics
///
/// Panics if it failed.
#[track_caller]
pub(super) fn expect_success(trial: &Trial<()>, seed: u64, kind: &str) {
    if let Err(error) = &trial.outcome {
        panic!("failed with seed {seed}, {kind}: {error}");
    }
}

fn failure(trial: &Trial<()>, check: u32, seed: u64, error: &str) -> String {
    let current = thread::current();
    let name = current.name().unwrap_or("NAME");
    let variable = variable(seed, trial.hash, check);
    let mut text = format!(
        "failed with seed {seed}: {error}\n\nreplay it with {variable} cargo test {name} -- \
         --exact\n{} events in {} ticks and {:?} of virtual time, the last of them:",
        trial.events, trial.ticks, trial.elapsed
    );
    for event in &trial.trace {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{event}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_parsed_from_what_a_report_prints() {
        assert_eq!(parse("17"), Some(Replay { seed: 17, failure: None }));
        for (hash, check) in [(255, 1), (u64::MAX, 3)] {
            let text = variable(17, hash, check);
            let value = text.strip_prefix("MATOU_SEED=").expect("the variable comes first");
            let failure = Some(ExpectedFailure { hash, check });
            assert_eq!(parse(value), Some(Replay { seed: 17, failure }));
        }
        assert_eq!(variable(17, 255, 1), "MATOU_SEED=17/00000000000000ff");
        for wrong in ["", "seventeen", "17/", "17/00ff/", "17/00ff/one", "17/00ff/1/1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
