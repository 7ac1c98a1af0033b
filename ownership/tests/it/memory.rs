//! Is the memory of a ledger bounded by the number of resources that it holds at the same time?

use std::sync::Arc;

use matou_ownership::{Ledger, Owned, ResourceHandle, adopt, enter, own, release, transfer};

use crate::support::{Probe, finalize, within};

#[test]
fn o10_a_million_cycles_of_own_and_release_keep_the_ledger_small() {
    let ledger = Ledger::new();
    within(&ledger, || {
        for _ in 0..1_000_000 {
            drop(Owned::new((), drop));
        }
    });
    assert!(ledger.is_empty());
    assert!(ledger.capacity() <= 4, "capacity {}", ledger.capacity());
}

#[test]
fn o10_a_million_tasks_free_their_ledgers() {
    for _ in 0..1_000_000 {
        let entered = enter(None);
        let owned = Owned::new((), drop);
        let ledger = entered.leave().unwrap();
        let weak = Arc::downgrade(&ledger);
        drop(owned);
        drop(ledger);
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn a_finalized_ledger_is_freed() {
    let ledger = Ledger::new();
    let weak = Arc::downgrade(&ledger);
    let probe = Probe::owned_by(&ledger);
    assert_eq!(probe.references(), 2);
    finalize(&ledger);
    drop(ledger);
    assert!(weak.upgrade().is_none());
    assert_eq!(probe.references(), 1);
}

#[test]
fn released_and_adopted_transfers_keep_the_ledger_small() {
    let ledger = Ledger::new();
    within(&ledger, || {
        for round in 0..10_000 {
            let probe = Probe::new();
            own(&probe.resource());
            transfer(&probe).unwrap();
            if round % 2 == 0 {
                adopt(&probe).unwrap();
            }
            release(&probe);
        }
    });
    assert!(ledger.take_transferred().is_empty());
    assert!(ledger.capacity() <= 8, "capacity {}", ledger.capacity());
}

#[test]
fn a_large_ledger_frees_its_memory_when_it_becomes_empty() {
    let ledger = Ledger::new();
    let probes: Vec<_> = (0..10_000).map(|_| Probe::owned_by(&ledger)).collect();
    assert!(ledger.capacity() >= 10_000);
    probes.iter().for_each(|probe| drop(release(probe)));
    assert_eq!(ledger.capacity(), 0);
}
