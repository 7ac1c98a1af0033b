//! A task that loses a resource, and one that hands it on, under an executor that knows neither.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::executor::block_on;
use matou_ownership::{Owned, scope};

static FINALIZED: AtomicUsize = AtomicUsize::new(0);

fn count(_: &'static str) {
    FINALIZED.fetch_add(1, SeqCst);
}

fn main() {
    // Dropped in its place: finalized once, and no leak.
    let value = block_on(scope(async {
        let file = Owned::new("file", count);
        drop(file);
        7
    }));
    assert_eq!(value.expect("nothing is left"), 7);
    assert_eq!(FINALIZED.load(SeqCst), 1);

    // Lost: finalized once all the same, and reported with the line that made it.
    let lost = block_on(scope(async { std::mem::forget(Owned::new("file", count)) }));
    let report = lost.expect_err("a resource was lost").to_string();
    assert!(report.contains(file!()), "{report}");
    assert_eq!(FINALIZED.load(SeqCst), 2);
    println!("matou-ownership works alone");
}
