//! Does every operation have its documented effect from every place that a resource can be in?

use std::sync::Arc;

use matou_ownership::{
    AccessError, Ledger, Resource, ResourceHandle, adopt, check, disown, enter, give, in_finalizer,
    in_task, own, release, transfer,
};

use crate::support::{Probe, finalize, named_ledger, within};

fn in_transit_from(ledger: &Arc<Ledger>) -> Probe {
    let probe = Probe::owned_by(ledger);
    within(ledger, || transfer(&probe)).unwrap();
    probe
}

fn finalized() -> Probe {
    let probe = Probe::new();
    release(&probe);
    probe
}

fn owns(ledger: &Ledger, probe: &Probe) -> bool {
    ledger.resources().contains(&probe.ticket().info())
}

#[test]
fn own_makes_the_current_task_the_owner_if_there_is_one() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    own(&probe.resource());
    assert_eq!(probe.references(), 1, "no ledger lists it");
    within(&ledger, || own(&probe.resource()));
    assert!(owns(&ledger, &probe));
}

#[test]
fn a_ledger_is_created_when_the_task_first_owns_a_resource() {
    let entered = enter(None);
    assert!(in_task());
    own(&Probe::new().resource());
    assert_eq!(entered.leave().unwrap().len(), 1);
    assert!(!in_task());
}

#[test]
fn nested_guards_restore_the_previous_ledger() {
    let (outer, inner) = (Ledger::new(), Ledger::new());
    within(&outer, || {
        within(&inner, || own(&Probe::new().resource()));
        drop(enter(Some(inner.clone())));
        own(&Probe::new().resource());
        assert!(!in_finalizer());
    });
    assert_eq!((outer.len(), inner.len()), (1, 1));
    assert!(!in_task());
}

#[test]
fn a_dropped_guard_finalizes_the_ledger_created_inside() {
    let entered = enter(None);
    let probe = Probe::new();
    own(&probe.resource());
    drop(entered);
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn a_dropped_guard_does_not_finalize_a_ledger_that_was_entered() {
    let ledger = Ledger::new();
    let entered = enter(Some(ledger.clone()));
    let probe = Probe::new();
    own(&probe.resource());
    drop(entered);
    assert_eq!((probe.finalized(), ledger.len()), (0, 1));
}

#[test]
fn check_adopts_an_unowned_resource() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    assert!(check(&probe).is_ok());
    assert_eq!(probe.references(), 1, "outside any task it remains unowned");
    within(&ledger, || check(&probe)).unwrap();
    assert!(owns(&ledger, &probe));
    within(&ledger, || check(&probe)).unwrap();
}

#[test]
fn a_failed_check_is_recorded_and_the_first_error_is_kept() {
    let (first, second) = (named_ledger("first"), Ledger::new());
    let probe = Probe::owned_by(&first);
    let other = Probe::owned_by(&first);
    within(&second, || {
        let error = check(&probe).unwrap_err();
        let line = line!() - 1;
        let AccessError::NotOwner(error) = error else { panic!("{error:?}") };
        assert_eq!((error.used_at.file(), error.used_at.line()), (file!(), line));
        assert!(check(&other).is_err());
    });
    let error = second.take_not_owner().unwrap();
    assert_eq!(error.resource, probe.ticket().info());
    assert_eq!(error.owner.as_ref().unwrap().name.as_deref(), Some("first"));
    let text = error.to_string();
    assert!(text.contains("belongs to task #1 \"first\"") && text.contains("`give`"), "{text}");
    assert!(second.take_not_owner().is_none());
    assert!(owns(&first, &probe), "the error has no effect");
}

#[test]
fn a_failed_check_by_a_task_without_a_ledger_creates_one_for_the_error() {
    let probe = Probe::owned_by(&Ledger::new());
    let entered = enter(None);
    assert!(check(&probe).is_err());
    assert!(entered.leave().unwrap().take_not_owner().is_some());
}

#[test]
fn a_failed_check_outside_any_task_is_not_recorded() {
    let ledger = Ledger::new();
    let probe = Probe::owned_by(&ledger);
    assert!(matches!(check(&probe), Err(AccessError::NotOwner(_))));
    assert!(ledger.take_not_owner().is_none());
}

#[test]
fn adopt_works_from_every_place() {
    let (from, to) = (Ledger::new(), Ledger::new());
    for probe in [Probe::new(), Probe::owned_by(&from), in_transit_from(&from)] {
        within(&to, || adopt(&probe)).unwrap();
        assert!(owns(&to, &probe));
    }
    assert!(from.is_empty());
    assert!(from.take_transferred().is_empty());
    assert!(to.take_not_owner().is_none());
}

#[test]
fn adopt_outside_any_task_makes_the_resource_unowned() {
    let from = Ledger::new();
    for probe in [Probe::new(), Probe::owned_by(&from), in_transit_from(&from)] {
        adopt(&probe).unwrap();
        assert_eq!(probe.references(), 1);
        assert!(check(&probe).is_ok());
    }
    assert!(from.is_empty());
}

#[test]
fn disown_requires_the_owner() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&first);
    assert!(matches!(within(&second, || disown(&probe)), Err(AccessError::NotOwner(_))));
    assert!(second.take_not_owner().is_some());
    within(&first, || disown(&probe)).unwrap();
    within(&first, || disown(&Probe::new())).unwrap();
    assert!(first.is_empty());
    assert_eq!(probe.references(), 1);
    within(&second, || check(&probe)).unwrap();
    assert!(owns(&second, &probe));
}

#[test]
fn transferred_resources_are_delivered_in_order_of_transfer() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let (older, newer) = (Probe::owned_by(&child), Probe::owned_by(&child));
    let unowned = Probe::new();
    within(&child, || {
        transfer(&newer).unwrap();
        transfer(&older).unwrap();
        transfer(&unowned).unwrap();
        transfer(&newer).unwrap();
    });
    assert!(child.is_empty());
    let report = finalize(&child);
    assert!(report.finalized.is_empty());
    let transferred = child.take_transferred();
    let ids: Vec<_> = transferred.iter().map(|resource| resource.ticket().id()).collect();
    assert_eq!(ids, [&newer, &older, &unowned].map(|probe| probe.ticket().id()));
    parent.receive(transferred);
    let infos = [&unowned, &older, &newer].map(|probe| probe.ticket().info());
    assert_eq!(parent.resources(), infos);
}

#[test]
fn a_resource_in_transit_cannot_be_used_by_shared_reference() {
    let child = named_ledger("child");
    let probe = in_transit_from(&child);
    let Err(AccessError::NotOwner(error)) = within(&child, || check(&probe)) else { panic!() };
    assert!(error.in_transit);
    assert!(error.to_string().contains("in transit to the parent of task #1 \"child\""));
    assert!(within(&child, || disown(&probe)).is_err());
    assert!(within(&child, || give(&probe, &Ledger::new())).is_err());
    assert!(check(&probe).is_err() && transfer(&probe).is_err());
    assert_eq!(child.take_transferred().len(), 1);
}

#[test]
fn a_resource_may_be_adopted_before_the_parent_receives_it() {
    let (child, parent, other) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = in_transit_from(&child);
    let transferred = child.take_transferred();
    within(&other, || check(&probe)).unwrap();
    parent.receive(transferred);
    assert!(owns(&other, &probe) && !owns(&parent, &probe));
}

#[test]
fn receive_skips_finalized_resources() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let probe = in_transit_from(&child);
    let transferred = child.take_transferred();
    release(&probe);
    parent.receive(transferred);
    assert!(parent.is_empty());
}

#[test]
fn give_requires_the_owner_or_an_unowned_resource() {
    let (first, second, child) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&first);
    assert!(matches!(within(&second, || give(&probe, &child)), Err(AccessError::NotOwner(_))));
    assert!(matches!(give(&probe, &child), Err(AccessError::NotOwner(_))));
    assert!(owns(&first, &probe));
    within(&first, || give(&Arc::new(&probe), &child)).unwrap();
    assert!(owns(&child, &probe) && first.is_empty());
    let unowned: Arc<dyn Resource> = Probe::new().resource();
    give(&unowned, &child).unwrap();
    assert_eq!(child.len(), 2);
}

#[test]
fn f14_a_handle_that_was_moved_in_and_not_used_yet_can_be_transferred() {
    let (first, second) = (Ledger::new(), Ledger::new());
    for probe in [Probe::new(), Probe::owned_by(&first), in_transit_from(&first)] {
        within(&second, || transfer(&probe)).unwrap();
        assert_eq!(second.take_transferred().len(), 1);
        assert!(within(&first, || check(&probe)).is_ok(), "it is unowned in the meantime");
    }
    assert!(second.take_not_owner().is_none());
    let given = Probe::new();
    give(&given, &first).unwrap();
    assert!(matches!(within(&second, || transfer(&given)), Err(AccessError::NotOwner(_))));
    within(&first, || transfer(&given)).unwrap();
}

#[test]
fn f14_giving_a_resource_twice_has_no_further_effect() {
    let (parent, child, other) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = Probe::owned_by(&parent);
    within(&parent, || {
        give(&probe, &child).unwrap();
        give(&probe, &child).unwrap();
        let error = give(&probe, &other).unwrap_err();
        assert!(matches!(error, AccessError::NotOwner(_)), "another task was given it");
    });
    assert!(owns(&child, &probe));
    assert_eq!((parent.len(), child.len(), other.len()), (0, 1, 0));
}

#[test]
fn release_finalizes_once_from_every_place() {
    let ledger = Ledger::new();
    for probe in [Probe::new(), Probe::owned_by(&ledger), in_transit_from(&ledger)] {
        assert!(release(&probe).is_some());
        assert!(release(&probe).is_none());
        assert!(probe.ticket().is_finalized());
        assert_eq!((probe.finalized(), probe.references()), (1, 1));
    }
    assert!(ledger.is_empty() && ledger.take_transferred().is_empty());
}

#[test]
fn every_operation_on_a_finalized_resource_fails() {
    let (ledger, probe) = (Ledger::new(), finalized());
    within(&ledger, || {
        own(&probe.resource());
        for result in [
            check(&probe),
            adopt(&probe),
            disown(&probe),
            transfer(&probe),
            give(&probe, &Ledger::new()),
        ] {
            let Err(AccessError::Finalized(info)) = result else { panic!("{result:?}") };
            assert_eq!(info, probe.ticket().info());
        }
    });
    assert!(matches!(check(&probe), Err(AccessError::Finalized(_))));
    assert!(matches!(adopt(&probe), Err(AccessError::Finalized(_))));
    assert!(ledger.is_empty());
    assert!(ledger.take_not_owner().is_none(), "the use of a finalized resource is not recorded");
}

#[test]
fn a_closed_ledger_accepts_no_resource() {
    let ledger = Ledger::new();
    finalize(&ledger);
    let probe = Probe::new();
    give(&probe, &ledger).unwrap();
    within(&ledger, || own(&probe.resource()));
    within(&ledger, || transfer(&probe)).unwrap();
    assert_eq!((ledger.len(), probe.references()), (0, 1));
    assert!(ledger.take_transferred().is_empty());
    assert!(check(&probe).is_ok(), "it remains unowned");
}
