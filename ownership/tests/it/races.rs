//! Is a resource finalized exactly once, whoever races for it? Persistent threads meet at a barrier
//! for each round, more of them than the machine has cores.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use futures::executor::block_on;
use matou_ownership::{Ledger, Owned, ResourceHandle, adopt, check, own, release};

use crate::doubles::{Probe, within};

const ROUNDS: usize = 10_000;

/// One round's things, made anew for each.
struct Round {
    first: Arc<Ledger>,
    second: Arc<Ledger>,
    probe: Arc<Probe>,
    /// How many racers stand at the line.
    ready: AtomicUsize,
}

/// Waits for the others once more. A barrier wakes its threads one by one, which is too far apart
/// for a race of a few instructions; who is awake already leaves within nanoseconds of the last
/// to come.
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

/// Runs each of `racers` on a thread of its own, at the same time, `ROUNDS` times.
fn race(racers: &[fn(&Round)], judge: fn(&Round)) {
    let barrier = Barrier::new(racers.len() + 1);
    let round: Mutex<Option<Arc<Round>>> = Mutex::new(None);
    let mut verdict = Ok(());
    thread::scope(|scope| {
        for racer in racers {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    let round = Arc::clone(round.lock().unwrap().as_ref().unwrap());
                    start_together(&round.ready, racers.len());
                    racer(&round);
                    drop(round);
                    barrier.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            let (first, second) = (Ledger::new(), Ledger::new());
            let probe = Arc::new(Probe::new());
            within(&first, || own(&probe.resource()));
            *round.lock().unwrap() =
                Some(Arc::new(Round { first, second, probe, ready: AtomicUsize::new(0) }));
            barrier.wait();
            barrier.wait();
            // A verdict waits until the racers are home, since they would wait for the judge for
            // ever.
            let judged = Arc::clone(round.lock().unwrap().as_ref().unwrap());
            if verdict.is_ok() {
                verdict = catch_unwind(AssertUnwindSafe(|| judge(&judged)));
            }
        }
    });
    if let Err(payload) = verdict {
        resume_unwind(payload);
    }
}

#[test]
fn release_against_release() {
    race(&[|round| drop(release(&round.probe)), |round| drop(release(&round.probe))], |round| {
        assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
    });
}

#[test]
fn release_against_settlement() {
    race(
        &[
            |round| drop(release(&round.probe)),
            |round| drop(block_on(round.first.finalize_all())),
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
fn adoption_against_settlement_against_release() {
    race(
        &[
            |round| drop(within(&round.second, || adopt(&round.probe))),
            |round| drop(block_on(round.first.finalize_all())),
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
fn adoption_against_settlement_leaves_it_to_one_of_the_two() {
    race(
        &[
            |round| drop(within(&round.second, || adopt(&round.probe))),
            |round| drop(block_on(round.first.finalize_all())),
        ],
        |round| {
            assert_eq!(round.probe.finalized() + round.second.len(), 1);
            drop(block_on(round.second.finalize_all()));
            assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
        },
    );
}

#[test]
fn a_borrow_against_the_end_of_the_owner() {
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
                // Outside any task it may be borrowed until a task has it.
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
            drop(block_on(ledger.finalize_all()));
            barrier.wait();
            if finalized.load(Ordering::SeqCst) != round + 1 {
                wrong.get_or_insert(round);
            }
        }
    });
    assert_eq!(wrong, None, "the round in which the count went wrong");
}
