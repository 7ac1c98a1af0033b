//! Does every verb do what it says from every place that a resource can be in?

use std::sync::Arc;

use futures::executor::block_on;
use matou_ownership::{
    AccessError, Ledger, Resource, ResourceHandle, adopt, check, disown, enter, give, in_finalizer,
    in_task, own, release, transfer,
};

use crate::doubles::{Probe, labelled, within};

fn owned_by(ledger: &Arc<Ledger>) -> Probe {
    let probe = Probe::new();
    within(ledger, || own(&probe.resource()));
    probe
}

fn in_transit_from(ledger: &Arc<Ledger>) -> Probe {
    let probe = owned_by(ledger);
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
fn own_enters_the_current_task_only_if_there_is_one() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    own(&probe.resource());
    assert_eq!(probe.references(), 1, "nobody keeps it");
    within(&ledger, || own(&probe.resource()));
    assert!(owns(&ledger, &probe));
}

#[test]
fn a_ledger_is_made_when_something_is_first_owned() {
    let entered = enter(None);
    assert!(in_task());
    own(&Probe::new().resource());
    assert_eq!(entered.leave().unwrap().len(), 1);
    assert!(!in_task());
}

#[test]
fn entering_nests_and_restores_what_was_before() {
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
fn a_guard_that_is_dropped_settles_the_ledger_made_inside() {
    let entered = enter(None);
    let probe = Probe::new();
    own(&probe.resource());
    drop(entered);
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn a_guard_that_is_dropped_leaves_a_ledger_that_others_know_alone() {
    let ledger = Ledger::new();
    let entered = enter(Some(ledger.clone()));
    let probe = Probe::new();
    own(&probe.resource());
    drop(entered);
    assert_eq!((probe.finalized(), ledger.len()), (0, 1));
}

#[test]
fn check_adopts_what_nobody_owns() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    assert!(check(&probe).is_ok());
    assert_eq!(probe.references(), 1, "outside it stays unowned");
    within(&ledger, || check(&probe)).unwrap();
    assert!(owns(&ledger, &probe));
    within(&ledger, || check(&probe)).unwrap();
}

#[test]
fn check_of_anothers_is_a_fault_and_the_first_one_is_kept() {
    let (mine, yours) = (labelled("mine"), Ledger::new());
    let probe = owned_by(&mine);
    let second = owned_by(&mine);
    within(&yours, || {
        let error = check(&probe).unwrap_err();
        let line = line!() - 1;
        let AccessError::NotOwner(error) = error else { panic!("{error:?}") };
        assert_eq!((error.used_at.file(), error.used_at.line()), (file!(), line));
        assert!(check(&second).is_err());
    });
    let fault = yours.take_not_owner().unwrap();
    assert_eq!(fault.resource, probe.ticket().info());
    assert_eq!(fault.owner.as_ref().unwrap().name.as_deref(), Some("mine"));
    let text = fault.to_string();
    assert!(text.contains("belongs to task #1 \"mine\"") && text.contains("`give`"), "{text}");
    assert!(yours.take_not_owner().is_none());
    assert!(owns(&mine, &probe), "nothing is touched");
}

#[test]
fn check_of_anothers_by_a_task_without_a_ledger_makes_one_for_the_fault() {
    let probe = owned_by(&Ledger::new());
    let entered = enter(None);
    assert!(check(&probe).is_err());
    assert!(entered.leave().unwrap().take_not_owner().is_some());
}

#[test]
fn check_of_anothers_outside_is_an_error_that_nobody_records() {
    let ledger = Ledger::new();
    let probe = owned_by(&ledger);
    assert!(matches!(check(&probe), Err(AccessError::NotOwner(_))));
    assert!(ledger.take_not_owner().is_none());
}

#[test]
fn adopt_takes_from_anywhere() {
    let (from, to) = (Ledger::new(), Ledger::new());
    for probe in [Probe::new(), owned_by(&from), in_transit_from(&from)] {
        within(&to, || adopt(&probe)).unwrap();
        assert!(owns(&to, &probe));
    }
    assert!(from.is_empty());
    assert!(from.take_transferred().is_empty());
    assert!(to.take_not_owner().is_none());
}

#[test]
fn adopt_outside_makes_unowned() {
    let from = Ledger::new();
    for probe in [Probe::new(), owned_by(&from), in_transit_from(&from)] {
        adopt(&probe).unwrap();
        assert_eq!(probe.references(), 1);
        assert!(check(&probe).is_ok());
    }
    assert!(from.is_empty());
}

#[test]
fn disown_lets_go_of_ones_own_only() {
    let (mine, yours) = (Ledger::new(), Ledger::new());
    let probe = owned_by(&mine);
    assert!(matches!(within(&yours, || disown(&probe)), Err(AccessError::NotOwner(_))));
    assert!(yours.take_not_owner().is_some());
    within(&mine, || disown(&probe)).unwrap();
    within(&mine, || disown(&Probe::new())).unwrap();
    assert!(mine.is_empty());
    assert_eq!(probe.references(), 1);
    within(&yours, || check(&probe)).unwrap();
    assert!(owns(&yours, &probe));
}

#[test]
fn transfer_delivers_at_the_end_in_order_of_transfer() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let (older, newer) = (owned_by(&child), owned_by(&child));
    let unowned = Probe::new();
    within(&child, || {
        transfer(&newer).unwrap();
        transfer(&older).unwrap();
        transfer(&unowned).unwrap();
        transfer(&newer).unwrap();
    });
    assert!(child.is_empty());
    let settled = block_on(child.finalize_all());
    assert!(settled.finalized.is_empty());
    let bequest = child.take_transferred();
    let ids: Vec<_> = bequest.iter().map(|resource| resource.ticket().id()).collect();
    assert_eq!(ids, [&newer, &older, &unowned].map(|probe| probe.ticket().id()));
    parent.receive(bequest);
    let infos = [&unowned, &older, &newer].map(|probe| probe.ticket().info());
    assert_eq!(parent.resources(), infos);
}

#[test]
fn nobody_uses_what_is_in_transit_by_shared_reference() {
    let child = labelled("child");
    let probe = in_transit_from(&child);
    let Err(AccessError::NotOwner(error)) = within(&child, || check(&probe)) else { panic!() };
    assert!(error.in_transit);
    assert!(error.to_string().contains("in transit to the parent of task #1 \"child\""));
    assert!(within(&child, || disown(&probe)).is_err());
    assert!(within(&child, || give(&probe, &Ledger::new())).is_err());
    assert!(within(&Ledger::new(), || transfer(&probe)).is_err());
    assert!(check(&probe).is_err());
    assert_eq!(child.take_transferred().len(), 1);
}

#[test]
fn what_is_delivered_may_be_used_before_it_is_received() {
    let (child, parent, other) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = in_transit_from(&child);
    let bequest = child.take_transferred();
    within(&other, || check(&probe)).unwrap();
    parent.receive(bequest);
    assert!(owns(&other, &probe) && !owns(&parent, &probe));
}

#[test]
fn receive_skips_what_is_finalized() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let probe = in_transit_from(&child);
    let bequest = child.take_transferred();
    release(&probe);
    parent.receive(bequest);
    assert!(parent.is_empty());
}

#[test]
fn give_moves_ones_own_or_nobodys() {
    let (mine, yours, child) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = owned_by(&mine);
    assert!(matches!(within(&yours, || give(&probe, &child)), Err(AccessError::NotOwner(_))));
    assert!(matches!(give(&probe, &child), Err(AccessError::NotOwner(_))));
    assert!(owns(&mine, &probe));
    within(&mine, || give(&Arc::new(&probe), &child)).unwrap();
    assert!(owns(&child, &probe) && mine.is_empty());
    let unowned: Arc<dyn Resource> = Probe::new().resource();
    give(&unowned, &child).unwrap();
    assert_eq!(child.len(), 2);
}

#[test]
fn inherit_all_sends_everything_to_the_parent_in_the_order_it_came() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let (older, newer) = (owned_by(&child), owned_by(&child));
    child.transfer_all();
    assert!(child.is_empty());
    parent.receive(child.take_transferred());
    assert_eq!(parent.resources(), [&newer, &older].map(|probe| probe.ticket().info()));
}

#[test]
fn release_finalizes_once_from_any_place() {
    let ledger = Ledger::new();
    for probe in [Probe::new(), owned_by(&ledger), in_transit_from(&ledger)] {
        assert!(release(&probe).is_some());
        assert!(release(&probe).is_none());
        assert!(probe.ticket().is_finalized());
        assert_eq!((probe.finalized(), probe.references()), (1, 1));
    }
    assert!(ledger.is_empty() && ledger.take_transferred().is_empty());
}

#[test]
fn nothing_can_be_done_with_what_is_finalized() {
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
    assert!(
        ledger.take_not_owner().is_none(),
        "to use a finalized resource is an error, not a fault"
    );
}

#[test]
fn a_closed_ledger_takes_nothing_in() {
    let ledger = Ledger::new();
    block_on(ledger.finalize_all());
    let probe = Probe::new();
    give(&probe, &ledger).unwrap();
    within(&ledger, || own(&probe.resource()));
    within(&ledger, || transfer(&probe)).unwrap();
    assert_eq!((ledger.len(), probe.references()), (0, 1));
    assert!(ledger.take_transferred().is_empty());
    assert!(check(&probe).is_ok(), "it stays unowned");
}
