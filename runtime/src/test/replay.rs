//! Telling a failure so that it can be replayed.

use std::cell::Cell;
use std::env;
use std::fmt::Write;
use std::thread;

use super::Trial;

/// The environment variable that names the one seed to be run.
const VARIABLE: &str = "MATOU_SEED";

thread_local! {
    /// How many checks this thread has made. The runner of the tests gives each test a thread.
    static CHECKS: Cell<u32> = const { Cell::new(0) };
}

/// What the environment asks for: `SEED`, or `SEED/HASH`, or `SEED/HASH/CHECK`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replay {
    pub(super) seed: u64,
    failure: Option<Failed>,
}

/// A failure that is to come again.
#[derive(Debug, PartialEq, Eq)]
struct Failed {
    /// The hash that the run had.
    hash: u64,
    /// The check of the test that failed, counted from 1. Why not its line? Who looks for a fault
    /// adds lines.
    check: u32,
}

impl Replay {
    /// Whether the check of that number is meant. A bare seed means all of them.
    pub(super) fn belongs_to(&self, check: u32) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.check == check)
    }
}

/// Counts a check, and returns its number among those of the present test, from 1.
pub(super) fn number_of_check() -> u32 {
    CHECKS.set(CHECKS.get() + 1);
    CHECKS.get()
}

/// Returns the seed that the environment names.
///
/// # Panics
///
/// If it names none that can be understood: to run all the others instead would look like success.
#[track_caller]
pub(super) fn wanted() -> Option<Replay> {
    let value = env::var(VARIABLE).ok()?;
    let replay = parse(&value);
    assert!(
        replay.is_some(),
        "{VARIABLE} is SEED, or SEED/HASH, or SEED/HASH/CHECK, not {value:?}"
    );
    replay
}

fn parse(value: &str) -> Option<Replay> {
    let mut parts = value.split('/');
    let seed = parts.next()?.parse().ok()?;
    let hash = parts.next().map(|hash| u64::from_str_radix(hash, 16)).transpose().ok()?;
    let check = parts.next().map(str::parse).transpose().ok()?;
    let failure = hash.map(|hash| Failed { hash, check: check.unwrap_or(1) });
    parts.next().is_none().then_some(Replay { seed, failure })
}

/// What the environment has to say for that run: the inverse of [`parse`].
fn variable(seed: u64, hash: u64, check: u32) -> String {
    let check = if check > 1 { format!("/{check}") } else { String::new() };
    format!("{VARIABLE}={seed}/{hash:016x}{check}")
}

/// Ends a replay.
///
/// # Panics
///
/// If the run failed, or was another one than the one that is to be replayed.
#[track_caller]
pub(super) fn complete(trial: &Trial<()>, simulated: bool, check: u32, wanted: &Replay) {
    let seed = wanted.seed;
    if !simulated {
        return demand_success(trial, seed);
    }
    let other = wanted.failure.as_ref().and_then(|failed| difference(trial, seed, failed.hash));
    match (&trial.outcome, other) {
        (Ok(()), None) => {}
        (Ok(()), Some(other)) => panic!("{other}"),
        (Err(error), None) => panic!("{}", failure(trial, check, seed, &error.to_string())),
        (Err(error), Some(other)) => {
            panic!("{}\n\n{other}", failure(trial, check, seed, &error.to_string()))
        }
    }
}

/// Says in what a replay differs from the failure whose hash is known.
fn difference(trial: &Trial<()>, seed: u64, expected: u64) -> Option<String> {
    if trial.hash != expected {
        return Some(format!(
            "seed {seed} made another run, with the hash {:016x} and not {expected:016x}: the \
             program has changed since, or is not repeatable; {VARIABLE}={seed} runs the seed \
             whatever it comes to",
            trial.hash
        ));
    }
    trial.outcome.is_ok().then(|| {
        format!(
            "seed {seed} made the same run, event by event, but did not fail: the fault is mended, \
             or it comes from something that matou does not know of; {VARIABLE}={seed} runs the \
             seed whatever it comes to"
        )
    })
}

/// Compares a run with its repetition.
///
/// # Panics
///
/// If it failed, or the two differ.
#[track_caller]
pub(super) fn compare(trial: &Trial<()>, again: &Trial<()>, check: u32, seed: u64) {
    let became = |trial: &Trial<()>| match &trial.outcome {
        Ok(()) => "it succeeded".to_owned(),
        Err(error) => error.to_string(),
    };
    let (first, second) = (became(trial), became(again));
    if trial.hash != again.hash || first != second {
        let hashes = match trial.hash == again.hash {
            true => format!("its hash was {:016x} twice, but its end another one", trial.hash),
            false => format!("its hash was {:016x}, then {:016x}", trial.hash, again.hash),
        };
        panic!(
            "seed {seed} is not repeatable: {hashes}. Something decides that matou does not know \
             of: a clock, a thread, an address, the order of a hash map, a static\n\
             the first time: {first}\nthe second time: {second}"
        );
    }
    if trial.outcome.is_err() {
        panic!("{}", failure(again, check, seed, &first));
    }
}

/// Ends a run on real threads, which has nothing that could be compared.
///
/// # Panics
///
/// If it failed.
#[track_caller]
pub(super) fn demand_success(trial: &Trial<()>, seed: u64) {
    if let Err(error) = &trial.outcome {
        panic!("failed with seed {seed}, on real threads: {error}");
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
    fn a_replay_is_a_seed_and_perhaps_a_failure() {
        assert_eq!(parse("17"), Some(Replay { seed: 17, failure: None }));
        for (hash, check) in [(255, 1), (u64::MAX, 3)] {
            let text = variable(17, hash, check);
            let value = text.strip_prefix("MATOU_SEED=").expect("the variable comes first");
            let failure = Some(Failed { hash, check });
            assert_eq!(parse(value), Some(Replay { seed: 17, failure }));
        }
        assert_eq!(variable(17, 255, 1), "MATOU_SEED=17/00000000000000ff");
        for wrong in ["", "seventeen", "17/", "17/00ff/", "17/00ff/one", "17/00ff/1/1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
