//! The suites, each of which maps a seed to a run, and the result of a run.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use matou_runtime::test::Trial;

use crate::coverage::{self, Covered, Feature};
use crate::program::{Environment, generate, main};
use crate::record::Entry;
use crate::settings::Settings;
use crate::{echo, model, rules};

/// A kind of run, which depends on nothing but its seed.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// The suite runs one seed for this number of requested seeds.
    pub(crate) seeds_per_run: u64,
    pub(crate) run: fn(u64) -> Result<Passed, Failure>,
    /// The features that its runs must cover.
    pub(crate) features: &'static [Feature],
}

pub(crate) const SUITES: [Suite; 3] = [
    Suite {
        name: "programs",
        seeds_per_run: 1,
        run: run_program,
        features: coverage::PROGRAM_FEATURES,
    },
    Suite { name: "rules", seeds_per_run: 5, run: rules::run, features: &[] },
    Suite { name: "echo", seeds_per_run: 5, run: echo::run, features: coverage::ECHO_FEATURES },
];

/// The result of a run that violated a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// The hash of the run; 0 if the runtime panicked.
    pub(crate) hash: u64,
    /// The recorded events of a random program; empty in the other suites.
    pub(crate) events: Vec<Entry>,
}

/// The result of a run that kept the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) hash: u64,
    /// The number of the runtime's events in the hash.
    pub(crate) events: u64,
    /// The features of the suite that the run covered.
    pub(crate) covered: Covered,
}

/// Runs the random program of a seed, and checks its events against the model.
fn run_program(seed: u64) -> Result<Passed, Failure> {
    let program = Arc::new(generate(seed));
    let settings = Settings::of(seed);
    let environment = Environment::new(settings);
    let record = environment.record.clone();
    let check = settings.check().on_report(move |diagnostic| record.add_diagnostic(diagnostic));
    let run = || check.trial(seed, main(&environment, &program));
    let trial = catch_unwind(AssertUnwindSafe(run));
    let events = environment.record.take();
    let check = |trial: &Trial<_, _>| model::check(settings, &events, &trial.outcome);
    match check_trial(trial, check) {
        Ok(passed) => Ok(Passed { covered: coverage::of_program(&events), ..passed }),
        Err(failure) => Err(Failure { events, ..failure }),
    }
}

/// Checks a trial that may have panicked.
pub(crate) fn check_trial<T, E: Display>(
    trial: std::thread::Result<Trial<T, E>>,
    check: impl FnOnce(&Trial<T, E>) -> Result<(), String>,
) -> Result<Passed, Failure> {
    let Ok(trial) = trial else {
        return Err(Failure { why: "the runtime panicked".into(), hash: 0, events: Vec::new() });
    };
    match check(&trial) {
        Ok(()) => {
            Ok(Passed { hash: trial.hash, events: trial.events, covered: Covered::default() })
        }
        Err(why) => Err(Failure { why, hash: trial.hash, events: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    //! A few seeds of each suite; `cargo xtask explore` runs many.

    use super::*;

    fn check_seeds(suite: &Suite, seeds: u64) {
        for seed in 0..seeds {
            if let Err(failure) = (suite.run)(seed) {
                panic!("{} with seed {seed}: {}", suite.name, failure.why);
            }
        }
    }

    #[test]
    fn random_programs_keep_the_rules() {
        check_seeds(&SUITES[0], 500);
    }

    #[test]
    fn the_program_of_each_rule_has_the_expected_outcome() {
        check_seeds(&SUITES[1], 60);
    }

    #[test]
    fn the_echo_server_tolerates_network_faults() {
        check_seeds(&SUITES[2], 10);
    }

    #[test]
    fn a_seed_always_yields_the_same_run() {
        for suite in &SUITES {
            for seed in 0..12 {
                let hash = || (suite.run)(seed).expect("the run keeps the rules").hash;
                assert_eq!(hash(), hash(), "{} with seed {seed}", suite.name);
            }
        }
    }
}
