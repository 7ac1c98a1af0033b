//! Is a young value in one place at a time, and finalized once, though its maker's thread finds it
//! without a lock while another thread has got hold of it?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use matou_ownership::model::Sabotage;
use matou_ownership::{Ledger, Owned, Resource, ResourceHandle, adopt, check, release, transfer};

use super::support::{falls_without, holds, within};

/// What another thread does with the value, for the task of a ledger.
type Deed = fn(Arc<dyn Resource>, &Arc<Ledger>);

/// Makes a value in a poll of one task, and lets another thread do `deed` with it while the poll
/// goes on with `rest`. Returns the two ledgers' lengths and how often the value was finalized.
fn meet(deed: Deed, rest: fn(Owned<u8>) -> Option<Owned<u8>>) -> ([usize; 2], usize) {
    let finalized = Arc::new(AtomicUsize::new(0));
    let (mine, yours) = (Ledger::new(), Ledger::new());
    let (other, kept) = within(&mine, || {
        let count = Arc::clone(&finalized);
        let owned = Owned::new(7, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (resource, yours) = (owned.resource(), Arc::clone(&yours));
        let other = thread::spawn(move || deed(resource, &yours));
        (other, rest(owned))
    });
    other.join().unwrap();
    let seen = ([mine.len(), yours.len()], finalized.load(Ordering::Relaxed));
    drop(kept);
    // Whatever came before, nothing is left now.
    let left = ([mine.len(), yours.len()], finalized.load(Ordering::Relaxed));
    assert_eq!(left, ([0, 0], 1), "judged: before it was {seen:?}");
    seen
}

fn drop_it(owned: Owned<u8>) -> Option<Owned<u8>> {
    drop(owned);
    None
}

fn dropped_while_adopted() {
    let adopts: Deed = |resource, yours| drop(within(yours, || adopt(&resource)));
    assert_eq!(meet(adopts, drop_it), ([0, 0], 1), "judged: it is gone");
}

#[test]
fn a_value_that_is_dropped_while_it_is_adopted_leaves_both() {
    holds(dropped_while_adopted);
}

#[test]
fn a_drop_that_thinks_itself_alone_is_found() {
    falls_without!(Sabotage::YoungThoughtAlone, dropped_while_adopted);
}

#[test]
fn a_value_that_is_dropped_while_it_is_released_is_finalized_once() {
    holds(|| {
        let releases: Deed = |resource, _| drop(release(&resource));
        assert_eq!(meet(releases, drop_it), ([0, 0], 1), "judged: it is gone");
    });
}

#[test]
fn a_value_that_is_dropped_while_another_task_checks_it_stays_with_none() {
    holds(|| {
        let checks: Deed = |resource, yours| {
            // It is no task's but the maker's, as long as it lives.
            within(yours, || assert!(check(&resource).is_err(), "judged: it was taken"));
        };
        assert_eq!(meet(checks, drop_it), ([0, 0], 1), "judged: it is gone");
    });
}

fn listed_while_adopted() {
    let adopts: Deed = |resource, yours| within(yours, || adopt(&resource)).unwrap();
    assert_eq!(meet(adopts, Some), ([0, 1], 0), "judged: the move is done");
}

#[test]
fn a_value_that_is_listed_while_it_is_adopted_belongs_to_the_taker_only() {
    holds(listed_while_adopted);
}

#[test]
fn a_listing_that_lets_go_of_the_lock_is_found() {
    falls_without!(Sabotage::ListedUnderTwoLocks, listed_while_adopted);
}

#[test]
fn a_value_that_is_listed_while_it_is_released_belongs_to_nobody() {
    holds(|| {
        let releases: Deed = |resource, _| drop(release(&resource));
        assert_eq!(meet(releases, Some), ([0, 0], 1), "judged: it is gone");
    });
}

#[test]
fn a_value_that_is_listed_while_it_is_taken_and_transferred_stays_on_its_way() {
    holds(|| {
        let transfers: Deed = |resource, yours| {
            within(yours, || adopt(&resource).and_then(|()| transfer(&resource))).unwrap();
        };
        assert_eq!(meet(transfers, Some), ([0, 0], 0), "judged: it is in neither list");
    });
}

#[test]
fn an_asynchronous_finalizer_that_is_left_while_its_value_is_listed_waits_for_the_owner() {
    holds(|| {
        let finalized = Arc::new(AtomicUsize::new(0));
        let ledger = Ledger::new();
        let other = within(&ledger, || {
            let count = Arc::clone(&finalized);
            let owned = Owned::with_async(7, |_| async move {
                count.fetch_add(1, Ordering::Relaxed);
            });
            thread::spawn(move || drop(owned))
        });
        other.join().unwrap();
        assert_eq!((ledger.len(), finalized.load(Ordering::Relaxed)), (1, 0));
        let settled = ledger.finalize_all().finish_without_waiting();
        assert!(settled.leaked.is_empty() && settled.unfinished.is_empty());
        assert_eq!((ledger.len(), finalized.load(Ordering::Relaxed)), (0, 1));
    });
}
