//! Do the verbs do the same across threads?

use std::sync::{Arc, Barrier};
use std::thread;

use futures::executor::block_on;
use matou_ownership::{
    AccessError, Ledger, ResourceHandle, adopt, check, disown, give, own, release, transfer,
};

use crate::doubles::{Probe, within};

fn elsewhere<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(body).join().unwrap())
}

#[test]
fn o4_a_task_on_another_thread_is_no_owner_and_touches_nothing() {
    let (mine, yours, probe) = (Ledger::new(), Ledger::new(), Probe::new());
    within(&mine, || own(&probe.resource()));
    elsewhere(|| {
        within(&yours, || assert!(matches!(check(&probe), Err(AccessError::NotOwner(_)))))
    });
    assert!(yours.take_not_owner().is_some());
    assert_eq!((mine.len(), yours.len(), probe.finalized()), (1, 0, 0));
}

#[test]
fn a_move_to_another_thread_is_a_gift() {
    let (mine, yours, probe) = (Ledger::new(), Ledger::new(), Probe::new());
    within(&mine, || own(&probe.resource()));
    elsewhere(|| within(&yours, || adopt(&probe))).unwrap();
    assert_eq!((mine.len(), yours.len()), (0, 1));
}

#[test]
fn give_disown_and_transfer_cross_threads() {
    let (mine, yours, probe) = (Ledger::new(), Ledger::new(), Probe::new());
    within(&mine, || own(&probe.resource()));
    within(&mine, || give(&probe, &yours)).unwrap();
    elsewhere(|| {
        within(&yours, || {
            check(&probe).unwrap();
            disown(&probe).unwrap();
        })
    });
    within(&mine, || check(&probe)).unwrap();
    within(&mine, || disown(&probe)).unwrap();
    elsewhere(|| within(&yours, || transfer(&probe))).unwrap();
    mine.receive(yours.take_transferred());
    within(&mine, || check(&probe)).unwrap();
    assert_eq!((mine.len(), yours.len()), (1, 0));
}

#[test]
fn a_release_on_another_thread_unlinks_from_the_owner() {
    let (ledger, probe) = (Ledger::new(), Probe::new());
    within(&ledger, || own(&probe.resource()));
    elsewhere(|| release(&probe).is_some());
    assert!(ledger.is_empty());
    assert_eq!(block_on(ledger.finalize_all()).finalized, []);
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn four_threads_that_move_one_resource_about_keep_the_books_straight() {
    const ROUNDS: usize = 5_000;
    let ledgers: Vec<_> = (0..4).map(|_| Ledger::new()).collect();
    let (probe, barrier) = (Arc::new(Probe::new()), Barrier::new(4));
    thread::scope(|scope| {
        for (index, ledger) in ledgers.iter().enumerate() {
            let (ledgers, probe, barrier) = (&ledgers, &probe, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..ROUNDS {
                    let other = &ledgers[(index + round) % 4];
                    // That some of them are refused is part of the game.
                    within(ledger, || match round % 4 {
                        0 => drop(adopt(probe)),
                        1 => drop(give(probe, other)),
                        2 => drop(transfer(probe)),
                        _ => drop(disown(probe)),
                    });
                    other.receive(ledger.take_transferred());
                }
            });
        }
    });
    let owners = ledgers.iter().map(|ledger| ledger.len()).sum::<usize>();
    let settled: usize =
        ledgers.iter().map(|ledger| block_on(ledger.finalize_all()).finalized.len()).sum();
    assert!(owners <= 1, "{owners} owners");
    assert_eq!(settled, owners);
    release(&probe);
    assert_eq!((probe.finalized(), probe.references()), (1, 1));
}
