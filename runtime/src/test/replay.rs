//! Telling a failure so that it can be replayed.

use std::env;
use std::fmt::Write;
use std::thread;

use super::Trial;

/// The environment variable that names the one seed to be run.
const VARIABLE: &str = "MATOU_SEED";

/// What the environment asks for.
pub(super) struct Replay {
    pub(super) seed: u64,
    /// The hash that the run had when it failed, if it is known.
    pub(super) hash: Option<u64>,
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
    assert!(replay.is_some(), "{VARIABLE} is a seed, or SEED/HASH, and not {value:?}");
    replay
}

fn parse(value: &str) -> Option<Replay> {
    let (seed, hash) = match value.split_once('/') {
        Some((seed, hash)) => (seed, Some(u64::from_str_radix(hash, 16).ok()?)),
        None => (value, None),
    };
    Some(Replay { seed: seed.parse().ok()?, hash })
}

/// Ends a replay.
///
/// # Panics
///
/// If the run failed, or was another one than the one that is to be replayed.
#[track_caller]
pub(super) fn conclude(trial: &Trial<()>, simulated: bool, seed: u64, hash: Option<u64>) {
    let other = hash.filter(|&hash| simulated && hash != trial.hash).map(|expected| {
        format!(
            "seed {seed} made another run, with the hash {:016x} and not {expected:016x}: the \
             program has changed since, or is not repeatable",
            trial.hash
        )
    });
    match (&trial.outcome, other) {
        (Ok(()), None) => {}
        (Ok(()), Some(other)) => panic!("{other}"),
        (Err(error), None) => panic!("{}", failure(trial, simulated, seed, &error.to_string())),
        (Err(error), Some(other)) => {
            panic!("{}\n\n{other}", failure(trial, simulated, seed, &error.to_string()))
        }
    }
}

/// Compares a run with its repetition.
///
/// # Panics
///
/// If it failed, or the two differ.
#[track_caller]
pub(super) fn compare(trial: &Trial<()>, again: &Trial<()>, simulated: bool, seed: u64) {
    let failed = trial.outcome.as_ref().err().map(ToString::to_string);
    if simulated && trial.hash != again.hash {
        let first = failed.unwrap_or_else(|| "it succeeded".to_owned());
        panic!(
            "seed {seed} is not repeatable: its hash was {:016x}, then {:016x}. Something decides \
             that matou does not know of: a clock, a thread, an address, the order of a hash map\n\
             the first time: {first}",
            trial.hash, again.hash
        );
    }
    if let Some(error) = failed {
        panic!("{}", failure(again, simulated, seed, &error));
    }
}

fn failure(trial: &Trial<()>, simulated: bool, seed: u64, error: &str) -> String {
    let current = thread::current();
    let name = current.name().unwrap_or("NAME");
    if !simulated {
        return format!("failed with seed {seed}, on real threads: {error}");
    }
    let mut text = format!(
        "failed with seed {seed}: {error}\n\nreplay it with {VARIABLE}={seed}/{:016x} cargo test \
         {name}\n{} events in {} turns and {:?} of virtual time, the last of them:",
        trial.hash, trial.events, trial.turns, trial.elapsed
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
    fn a_replay_is_a_seed_and_perhaps_a_hash() {
        let replay = parse("17").expect("a seed");
        assert_eq!((replay.seed, replay.hash), (17, None));
        let replay = parse("17/00ff").expect("a seed and a hash");
        assert_eq!((replay.seed, replay.hash), (17, Some(255)));
        assert!(parse("").is_none());
        assert!(parse("seventeen").is_none());
        assert!(parse("17/").is_none());
    }
}
