//! Goal: what the tests of the original, the OCaml scheduler Miou, show of it, holds here, too.
//! Method: one test for each behaviour, written anew and named for what it shows. Where matou
//! departs from the original, the test shows matou's way, and says why. What has no counterpart
//! here, and why, is in `docs/vocabulary.md`.

mod cancellation;
mod children;
mod collectors;
mod domains;
mod ownership;
mod time;

use matou_runtime::test::{Check, Trial};
use matou_runtime::{MainError, yield_now};

/// Runs a body under many schedules, and hands each trial out.
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

/// Runs a body that is to end well under many schedules.
fn check<F>(domains: usize, body: impl Fn() -> F)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    Check::simulated().domains(domains).run(0..100, body);
}

async fn endless() {
    loop {
        yield_now().await;
    }
}
