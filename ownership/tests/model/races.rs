//! Is a resource in one place at a time, and finalized exactly once, while two threads access it?

use std::sync::Arc;

use loom::thread;
use matou_ownership::{FinalizeReport, Ledger, Resource, adopt, check, defer, release, transfer};

use super::support::{Probe, holds, within};

/// Finalizes a ledger whose resources are synchronous.
fn finalize(ledger: &Arc<Ledger>) -> FinalizeReport {
    ledger.finalize_all().finish_without_waiting()
}

/// Runs `first` on another thread and `second` on this one, with a resource that the first of two
/// ledgers owns. Returns the lengths of the ledgers and the number of finalizer calls.
fn race(
    first: fn(Arc<dyn Resource>, [Arc<Ledger>; 2]),
    second: fn(&Arc<dyn Resource>, &[Arc<Ledger>; 2]),
) -> ([usize; 2], usize) {
    let ledgers = [Ledger::new(), Ledger::new()];
    let probe = Probe::owned_by(&ledgers[0]);
    let (resource, their_ledgers) = (probe.resource(), ledgers.clone());
    let thread = thread::spawn(move || first(resource, their_ledgers));
    second(&probe.resource(), &ledgers);
    thread.join().unwrap();
    let result = (ledgers.each_ref().map(|ledger| ledger.len()), probe.finalized());
    // Release it, wherever it is, to break the cycle of references, and to count its finalizers.
    drop(release(&probe.resource()));
    assert!(ledgers.iter().all(|ledger| ledger.is_empty()));
    assert_eq!(probe.finalized(), 1, "before the last release: {result:?}");
    assert_eq!(Arc::strong_count(&probe), 1);
    result
}

#[test]
fn two_releases_finalize_once() {
    holds(|| {
        let seen =
            race(|resource, _| drop(release(&resource)), |resource, _| drop(release(resource)));
        assert_eq!(seen, ([0, 0], 1));
    });
}

#[test]
fn a_release_and_the_end_of_the_owner_finalize_once() {
    holds(|| {
        let seen =
            race(|resource, _| drop(release(&resource)), |_, [owner, _]| drop(finalize(owner)));
        assert_eq!(seen, ([0, 0], 1));
    });
}

#[test]
fn a_release_and_an_adoption_finalize_once() {
    holds(|| {
        let seen = race(
            |resource, [_, taker]| drop(within(&taker, || adopt(&resource))),
            |resource, _| drop(release(resource)),
        );
        assert_eq!(seen, ([0, 0], 1));
    });
}

#[test]
fn a_resource_adopted_while_its_owner_ends_is_finalized_or_adopted() {
    holds(|| {
        let (owner, taker) = (Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&owner);
        let (resource, their_taker) = (probe.resource(), Arc::clone(&taker));
        let thread = thread::spawn(move || within(&their_taker, || adopt(&resource)).is_ok());
        drop(finalize(&owner));
        let adopted = thread.join().unwrap();
        // The end of the previous owner must not finalize an adopted resource.
        let expected = if adopted { (1, 0) } else { (0, 1) };
        assert_eq!((taker.len(), probe.finalized()), expected);
        assert!(owner.is_empty());
        drop(release(&probe.resource()));
        assert_eq!((probe.finalized(), Arc::strong_count(&probe)), (1, 1));
    });
}

#[test]
fn a_resource_taken_from_its_transfer_is_received_or_taken() {
    holds(|| {
        let (child, parent, taker) = (Ledger::new(), Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&child);
        within(&child, || transfer(&probe.resource())).unwrap();
        let (resource, their_taker) = (probe.resource(), Arc::clone(&taker));
        let thread = thread::spawn(move || within(&their_taker, || adopt(&resource)).unwrap());
        let transferred = child.take_transferred();
        thread.join().unwrap();
        // An adoption after the delivery takes the unowned resource, so the taker has it anyway.
        parent.receive(transferred);
        assert_eq!([child.len(), parent.len(), taker.len()], [0, 0, 1]);
        drop(release(&probe.resource()));
        assert_eq!((probe.finalized(), Arc::strong_count(&probe)), (1, 1));
    });
}

#[test]
fn a_check_by_another_task_never_becomes_the_owner() {
    holds(|| {
        let seen = race(
            |resource, [_, other]| {
                // The resource is owned by the first task or finalized, but never unowned.
                within(&other, || assert!(check(&resource).is_err()));
            },
            |resource, [owner, _]| within(owner, || drop(release(resource))),
        );
        assert_eq!(seen, ([0, 0], 1));
    });
}

#[test]
fn a_resource_that_is_adopted_and_transferred_is_in_neither_ledger() {
    holds(|| {
        let (child, other) = (Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&other);
        let (resource, their_child) = (probe.resource(), Arc::clone(&child));
        let thread = thread::spawn(move || {
            within(&their_child, || adopt(&resource).and_then(|()| transfer(&resource))).unwrap();
        });
        // The previous owner ends in the meantime if the resource has left it.
        assert!(within(&other, || check(&probe.resource())).is_ok() || other.is_empty());
        thread.join().unwrap();
        assert_eq!((child.len(), other.len()), (0, 0));
        assert_eq!(child.take_transferred().len(), 1);
        drop(release(&probe.resource()));
    });
}

#[test]
fn a_resource_released_while_its_owner_leaves_it_is_finalized_once() {
    holds(|| {
        let seen = race(
            |resource, _| drop(release(&resource)),
            |_, [owner, parent]| {
                owner.leave_to_parent();
                drop(finalize(owner));
                parent.receive(owner.take_transferred());
            },
        );
        assert!(seen.0[0] == 0 && seen.0[1] + seen.1 <= 1, "{seen:?}");
    });
}

#[test]
fn a_resource_used_while_its_owner_leaves_it_belongs_to_the_user() {
    holds(|| {
        let (owner, parent, user) = (Ledger::new(), Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&owner);
        let (resource, their_user) = (probe.resource(), Arc::clone(&user));
        let thread = thread::spawn(move || within(&their_user, || adopt(&resource)).unwrap());
        owner.leave_to_parent();
        // The end of the owner must not finalize what it has left.
        assert_eq!(finalize(&owner).finalized.len(), 0);
        parent.receive(owner.take_transferred());
        thread.join().unwrap();
        assert_eq!([owner.len(), parent.len(), user.len()], [0, 0, 1]);
        drop(release(&probe.resource()));
        assert_eq!((probe.finalized(), Arc::strong_count(&probe)), (1, 1));
    });
}

#[test]
fn a_due_resource_is_finalized_once_by_the_service_or_at_the_end() {
    holds(|| {
        let (child, owner) = (Ledger::new(), Ledger::new());
        let probe = Probe::owned_by(&child);
        child.leave_to_parent();
        owner.receive(child.take_transferred());
        let resource = probe.resource();
        let thread = thread::spawn(move || defer(&resource));
        if let Some(due) = owner.take_due() {
            assert_eq!(finalize(&due).leaked.len(), 0);
        }
        drop(finalize(&owner));
        thread.join().unwrap();
        assert!(owner.is_empty());
        assert_eq!(probe.finalized(), 1);
    });
}
