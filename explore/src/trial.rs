//! One program, run and judged.

use std::sync::Arc;

use matou_runtime::test::Check;

use crate::model;
use crate::program::{World, generate, main};
use crate::record::Event;

/// A broken rule that nobody has planned.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) why: String,
    pub(crate) hash: u64,
    pub(crate) events: Vec<Event>,
}

/// Runs the program of a seed, and returns the hash of the run.
///
/// # Errors
///
/// If the model finds that a rule is broken.
pub(crate) fn explore(seed: u64) -> Result<u64, Finding> {
    let program = Arc::new(generate(seed));
    let world = World::new();
    // Three at least: a task of domain 1 finds no other one among two (R9).
    let domains = 3 + (seed % 2) as usize;
    let main = main(&world, &program);
    let trial = Check::simulated().domains(domains).trial(seed, main);
    let events = world.record.take();
    match model::judge(&program, &events, &trial.outcome) {
        Ok(()) => Ok(trial.hash),
        Err(why) => Err(Finding { why, hash: trial.hash, events }),
    }
}
