//! Does the books' memory grow with what they hold, and not with what they ever held?

use std::sync::Arc;

use futures::executor::block_on;
use matou_ownership::{Ledger, Owned, adopt, enter, own, release, transfer};

use crate::doubles::{Probe, within};
use matou_ownership::ResourceHandle;

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
fn o10_a_million_tasks_leave_no_ledger_behind() {
    for _ in 0..1_000_000 {
        let entered = enter(None);
        let owned = Owned::new((), drop);
        let ledger = entered.leave().unwrap();
        let books = Arc::downgrade(&ledger);
        drop(owned);
        drop(ledger);
        assert!(books.upgrade().is_none());
    }
}

#[test]
fn a_settled_task_leaves_no_ledger_behind() {
    let probe = Probe::new();
    let ledger = Ledger::new();
    let books = Arc::downgrade(&ledger);
    within(&ledger, || own(&probe.resource()));
    assert_eq!(probe.references(), 2);
    block_on(ledger.finalize_all());
    drop(ledger);
    assert!(books.upgrade().is_none());
    assert_eq!(probe.references(), 1);
}

#[test]
fn transfers_that_are_released_or_taken_back_keep_the_bequest_small() {
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
fn a_ledger_that_was_large_gives_its_memory_back_when_empty() {
    let ledger = Ledger::new();
    let probes: Vec<_> = (0..10_000).map(|_| Probe::new()).collect();
    within(&ledger, || probes.iter().for_each(|probe| own(&probe.resource())));
    assert!(ledger.capacity() >= 10_000);
    probes.iter().for_each(|probe| drop(release(probe)));
    assert_eq!(ledger.capacity(), 0);
}
