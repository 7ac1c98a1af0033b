//! Is a resource finalized exactly once, whoever races for it? Persistent threads meet at a barrier
//! for each round, more of them than the machine has cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use futures::executor::block_on;
use matou_ownership::{Handle, Ledger, Owned, adopt, check, own, release};

use crate::doubles::{Probe, within};

const ROUNDS: usize = 10_000;

/// One round's things, made anew for each.
struct Round {
    first: Arc<Ledger>,
    second: Arc<Ledger>,
    probe: Arc<Probe>,
}

/// Runs each of `racers` on a thread of its own, at the same time, `ROUNDS` times.
fn race(racers: &[fn(&Round)], judge: fn(&Round)) {
    let barrier = Barrier::new(racers.len() + 1);
    let round: Mutex<Option<Arc<Round>>> = Mutex::new(None);
    thread::scope(|scope| {
        for racer in racers {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    let round = Arc::clone(round.lock().unwrap().as_ref().unwrap());
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
            *round.lock().unwrap() = Some(Arc::new(Round {
                first,
                second,
                probe,
            }));
            barrier.wait();
            barrier.wait();
            judge(round.lock().unwrap().as_ref().unwrap());
        }
    });
}

#[test]
fn release_against_settlement() {
    race(
        &[
            |round| drop(release(&round.probe)),
            |round| drop(block_on(round.first.settle())),
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
            |round| drop(block_on(round.first.settle())),
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
            |round| drop(block_on(round.first.settle())),
        ],
        |round| {
            assert_eq!(round.probe.finalized() + round.second.len(), 1);
            drop(block_on(round.second.settle()));
            assert_eq!((round.probe.finalized(), round.probe.references()), (1, 1));
        },
    );
}

#[test]
fn a_borrow_against_the_end_of_the_owner() {
    let finalized = Arc::new(AtomicUsize::new(0));
    let barrier = Barrier::new(2);
    let shared: Mutex<Option<Arc<Owned<u64>>>> = Mutex::new(None);
    let fetch = || Arc::clone(shared.lock().unwrap().as_ref().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                barrier.wait();
                let owned = fetch();
                // Outside any task it may be borrowed until a task has it.
                if let Ok(guard) = owned.get() {
                    assert_eq!(*guard, 7);
                }
                drop(owned);
                barrier.wait();
            }
        });
        for round in 0..ROUNDS {
            let count = Arc::clone(&finalized);
            let owned = Owned::new(7, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            *shared.lock().unwrap() = Some(Arc::new(owned));
            barrier.wait();
            let (owned, ledger) = (fetch(), Ledger::new());
            within(&ledger, || check(&owned)).unwrap();
            drop(block_on(ledger.settle()));
            barrier.wait();
            assert_eq!(finalized.load(Ordering::SeqCst), round + 1);
        }
    });
}
