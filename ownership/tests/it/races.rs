//! Is a resource finalized exactly once if several threads access it at the same time? Persistent
//! threads start each round at a barrier; there are more of them than the machine has cores.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use matou_ownership::{Ledger, Owned, adopt, check, release};

use crate::support::{Probe, finalize, within};

const ROUNDS: usize = 10_000;

/// The state of one round.
struct Round {
    first: Arc<Ledger>,
    second: Arc<Ledger>,
    /// Initially owned by `first`.
    probe: Probe,
    /// The number of threads that are ready to start.
    ready: AtomicUsize,
}

impl Round {
    fn new() -> Round {
        let (first, second) = (Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&first);
        Round { first, second, probe, ready: AtomicUsize::new(0) }
    }
}

/// Spins until all threads are ready. A barrier wakes its threads one after the other, which is too
/// far apart for a race of a few instructions; spinning threads start within nanoseconds.
fn start_together(ready: &AtomicUsize, racers: usize) {
    ready.fetch_add(1, Ordering::SeqCst);
    let mut spins = 0;
    while ready.load(Ordering::SeqCst) < racers {
        spins += 1;
        if spins % 1_000 == 0 {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// Runs each of `racers` on its own thread, at the same time, and then `judge`, `ROUNDS` times.
fn race(racers: &[fn(&Round)], judge: fn(&Round)) {
    let barrier = Barrier::new(racers.len() + 1);
    let shared: Mutex<Option<Arc<Round>>> = Mutex::new(None);
    let mut verdict = Ok(());
    thread::scope(|scope| {
        for racer in racers {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    let round = Arc::clone(shared.lock().unwrap().as_ref().unwrap());
                    start_together(&round.ready, racers.len());
                    racer(&round);
                    drop(round);
                    barrier.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            let round = Arc::new(Round::new());
            *shared.lock().unwrap() = Some(Arc::clone(&round));
            barrier.wait();
            barrier.wait();
            // Catch a panic until all rounds are done: the racers would wait at the barrier
            // forever.
            if verdict.is_ok() {
                verdict = catch_unwind(AssertUnwindSafe(|| judge(&round)));
            }
        }
    });
    if let Err(payload) = verdict {
        resume_unwind(payload);
    }
}

#[test]
fn two_releases_finalize_once() {
    race(&[|round| drop(release(&round.probe)), |round| drop(release(&round.probe))], |round| {
        assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
    });
}

#[test]
fn two_releases_and_the_end_of_the_owner_finalize_once() {
    race(
        &[
            |round| drop(release(&round.probe)),
            |round| drop(finalize(&round.first)),
            |round| drop(release(&round.probe)),
        ],
        |round| {
            assert_eq!(round.probe.finalized(), 1);
            assert_eq!(round.probe.references(), 1);
            assert!(round.first.is_empty());
        },
    );
}

#[test]
fn an_adoption_a_check_a_release_and_the_end_of_the_owner_finalize_once() {
    race(
        &[
            |round| drop(within(&round.second, || adopt(&round.probe))),
            |round| drop(finalize(&round.first)),
            |round| drop(release(&round.probe)),
            |round| drop(within(&round.second, || check(&round.probe))),
        ],
        |round| {
            assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
            assert!(round.first.is_empty() && round.second.is_empty());
        },
    );
}

#[test]
fn a_resource_adopted_while_its_owner_ends_is_adopted_or_finalized() {
    race(
        &[
            |round| drop(within(&round.second, || adopt(&round.probe))),
            |round| drop(finalize(&round.first)),
        ],
        |round| {
            assert_eq!(round.probe.finalized() + round.second.len(), 1);
            drop(finalize(&round.second));
            assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
        },
    );
}

#[test]
fn a_value_borrowed_while_its_owner_ends_is_finalized_once() {
    let finalized = Arc::new(AtomicUsize::new(0));
    let mut wrong = None;
    let barrier = Barrier::new(2);
    let shared: Mutex<Option<Arc<Owned<u64>>>> = Mutex::new(None);
    let fetch = || Arc::clone(shared.lock().unwrap().as_ref().unwrap());
    let ready: Vec<_> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for ready in &ready {
                barrier.wait();
                let owned = fetch();
                start_together(ready, 2);
                // Outside any task the value can be borrowed while it is unowned.
                if let Ok(guard) = owned.get() {
                    assert_eq!(*guard, 7);
                }
                drop(owned);
                barrier.wait();
            }
        });
        for (round, ready) in ready.iter().enumerate() {
            let count = Arc::clone(&finalized);
            let owned = Owned::new(7, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            *shared.lock().unwrap() = Some(Arc::new(owned));
            barrier.wait();
            let (owned, ledger) = (fetch(), Ledger::new());
            start_together(ready, 2);
            within(&ledger, || check(&owned)).unwrap();
            drop(finalize(&ledger));
            barrier.wait();
            if finalized.load(Ordering::SeqCst) != round + 1 {
                wrong.get_or_insert(round);
            }
        }
    });
    assert_eq!(wrong, None, "the first round with a wrong count");
}
