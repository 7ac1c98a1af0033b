//! Do the operations have the same effects across threads?

use std::sync::{Arc, Barrier};
use std::thread;

use matou_ownership::{AccessError, Ledger, adopt, check, disown, give, release, transfer};

use crate::support::{Probe, finalize, within};

fn on_another_thread<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(body).join().unwrap())
}

#[test]
fn o4_a_use_by_a_task_on_another_thread_is_an_error_without_effect() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&first);
    let result = on_another_thread(|| within(&second, || check(&probe)));
    assert!(matches!(result, Err(AccessError::NotOwner(_))));
    assert!(second.take_not_owner().is_some());
    assert_eq!((first.len(), second.len(), probe.finalized()), (1, 0, 0));
}

#[test]
fn a_move_to_another_thread_moves_the_ownership() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&first);
    on_another_thread(|| within(&second, || adopt(&probe))).unwrap();
    assert_eq!((first.len(), second.len()), (0, 1));
}

#[test]
fn give_disown_and_transfer_work_across_threads() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&first);
    within(&first, || give(&probe, &second)).unwrap();
    on_another_thread(|| {
        within(&second, || {
            check(&probe).unwrap();
            disown(&probe).unwrap();
        })
    });
    within(&first, || check(&probe)).unwrap();
    within(&first, || disown(&probe)).unwrap();
    on_another_thread(|| within(&second, || transfer(&probe))).unwrap();
    first.receive(second.take_transferred());
    within(&first, || check(&probe)).unwrap();
    assert_eq!((first.len(), second.len()), (1, 0));
}

#[test]
fn a_release_on_another_thread_removes_the_resource_from_its_owner() {
    let ledger = Ledger::new();
    let probe = Probe::owned_by(&ledger);
    on_another_thread(|| release(&probe).is_some());
    assert!(ledger.is_empty());
    assert_eq!(finalize(&ledger).finalized, []);
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn four_threads_that_move_one_resource_keep_the_ledgers_consistent() {
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
                    // Some of these calls fail because another thread owns the resource.
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
    let finalized: usize = ledgers.iter().map(|ledger| finalize(ledger).finalized.len()).sum();
    assert!(owners <= 1, "{owners} owners");
    assert_eq!(finalized, owners);
    release(&probe);
    assert_eq!((probe.finalized(), probe.references()), (1, 1));
}
