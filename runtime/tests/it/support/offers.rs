//! Programs whose tasks pass locks to each other.

use std::future::Future;

use matou_runtime::test::Check;
use matou_runtime::{Builder, MainError, yield_now};
use matou_sync::Mutex;

use super::{Place, fewer, run_with};

pub(crate) const OFFER_SEEDS: std::ops::Range<u64> = 0..fewer(40);

/// Runs a program on threads and simulated, with its tasks on one domain and on several.
pub(crate) fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn(Place) -> F + Copy + Send + Sync + 'static,
) {
    for place in Place::BOTH {
        // The findings are the subject of other tests.
        let builder = Builder::new().domains(3).on_report(|_| ());
        run_with(builder, move || program(place)).expect("the run succeeds");
        Check::simulated().on_report(|_| ()).run(OFFER_SEEDS, move || program(place));
    }
}

/// Yields until `count` tasks wait for the mutex.
pub(crate) async fn waiters<T>(mutex: &Mutex<T>, count: usize) {
    while mutex.waiters() != count {
        yield_now().await;
    }
}
