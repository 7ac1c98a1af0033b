//! Goal: matou has the behaviour that the tests of Miou show, the OCaml scheduler that it follows.
//!
//! Method: one new test for each behaviour. Where matou differs from Miou, the test shows the
//! behaviour of matou and says why. `docs/vocabulary.md` lists what has no counterpart.

mod cancellation;
mod children;
mod domains;
mod groups;
mod ownership;
mod time;

use matou_runtime::test::{Check, Trial};
use matou_runtime::{MainError, yield_now};

use crate::support::fewer;

/// Runs `body` under the seeds below `seeds` and returns each trial.
fn trials<F, T>(
    domains: usize,
    seeds: u64,
    body: impl Fn() -> F,
) -> impl Iterator<Item = Trial<T, MainError>>
where
    F: Future<Output = Result<T, MainError>> + 'static,
    T: 'static,
{
    (0..seeds).map(move |seed| Check::simulated().domains(domains).trial(seed, body()))
}

/// Runs `body`, which must succeed, under a hundred seeds.
fn check<F>(domains: usize, body: impl Fn() -> F)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    Check::simulated().domains(domains).run(0..fewer(100), body);
}

async fn endless() {
    loop {
        yield_now().await;
    }
}
