//! What is run under a seed, and what comes of it.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use matou_runtime::test::{Check, Trial};

use crate::coverage::{self, Feature, Shown};
use crate::program::{World, generate, main};
use crate::record::Entry;
use crate::{echo, model, rules};

/// Runs under a seed, and what they show.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Of how many of the wanted seeds one is for this part.
    pub(crate) share: u64,
    pub(crate) run: fn(u64) -> Result<Passed, Finding>,
    /// What is to be seen in its runs.
    pub(crate) features: &'static [Feature],
}

/// All of it.
pub(crate) const PARTS: [Part; 3] = [
    Part { name: "programs", share: 1, run: explore, features: coverage::PROGRAMS },
    Part { name: "rules", share: 10, run: rules::explore, features: &[] },
    Part { name: "echo", share: 10, run: echo::explore, features: coverage::ECHO },
];

/// A run that broke a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) why: String,
    /// That of the run; 0 if it did not come to an end.
    pub(crate) hash: u64,
    /// What the jobs of a program did.
    pub(crate) events: Vec<Entry>,
}

/// A run that kept the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) hash: u64,
    /// How many events of the runtime went into the hash.
    pub(crate) events: u64,
    /// Which of the features of its part it showed.
    pub(crate) shown: Shown,
}

/// Runs the random program of a seed, and has it judged.
///
/// # Errors
///
/// If the model finds that a rule was broken.
pub(crate) fn explore(seed: u64) -> Result<Passed, Finding> {
    let program = Arc::new(generate(seed));
    let world = World::new();
    // Three at least: a task of domain 1 finds no other one among two (R9).
    let domains = 3 + (seed % 2) as usize;
    let run = || Check::simulated().domains(domains).trial(seed, main(&world, &program));
    let trial = catch_unwind(AssertUnwindSafe(run));
    let events = world.record.take();
    let judge = |trial: &Trial<_, _>| model::judge(&events, &trial.outcome);
    match conclude(trial, judge) {
        Ok(passed) => Ok(Passed { shown: coverage::of_program(&events), ..passed }),
        Err(finding) => Err(Finding { events, ..finding }),
    }
}

/// Judges a trial that may have panicked.
pub(crate) fn conclude<T, E: Display>(
    trial: std::thread::Result<Trial<T, E>>,
    judge: impl FnOnce(&Trial<T, E>) -> Result<(), String>,
) -> Result<Passed, Finding> {
    let Ok(trial) = trial else {
        return Err(Finding { why: "the runtime panicked".into(), hash: 0, events: Vec::new() });
    };
    match judge(&trial) {
        Ok(()) => Ok(Passed { hash: trial.hash, events: trial.events, shown: Shown::default() }),
        Err(why) => Err(Finding { why, hash: trial.hash, events: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    //! A few seeds of each part; `cargo xtask explore` runs many.

    use super::*;

    fn keeps_the_rules(part: &Part, seeds: u64) {
        for seed in 0..seeds {
            if let Err(finding) = (part.run)(seed) {
                panic!("{} with seed {seed}: {}", part.name, finding.why);
            }
        }
    }

    #[test]
    fn random_programs_keep_the_rules() {
        keeps_the_rules(&PARTS[0], 500);
    }

    #[test]
    fn the_rules_own_bodies_end_as_they_should() {
        keeps_the_rules(&PARTS[1], 60);
    }

    #[test]
    fn the_echo_server_survives_a_rough_network() {
        keeps_the_rules(&PARTS[2], 10);
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        for part in &PARTS {
            for seed in 0..12 {
                let hash = || (part.run)(seed).expect("it keeps the rules").hash;
                assert_eq!(hash(), hash(), "{} with seed {seed}", part.name);
            }
        }
    }
}
