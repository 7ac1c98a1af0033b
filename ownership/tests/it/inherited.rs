//! What happens to a resource whose handle outlives its owner?

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use matou_ownership::{
    AccessError, FinalizerService, Ledger, Owned, ResourceHandle, adopt, check, disown, enter,
    give, release, scope, take_ledger_flag, transfer,
};

use crate::support::{Gate, Log, Probe, finalize, leaked, named_ledger, poll_once, within};

/// Ends the task of `child`: its parent inherits what outlives it.
fn end(child: &Arc<Ledger>, parent: &Arc<Ledger>) {
    child.leave_to_parent();
    assert!(finalize(child).leaked.is_empty());
    assert!(parent.receive(child.take_transferred()).is_empty());
}

/// A probe that `parent` has inherited from an ended task.
fn inherited_by(parent: &Arc<Ledger>) -> Probe {
    let child = Ledger::new();
    let probe = Probe::owned_by(&child);
    end(&child, parent);
    probe
}

/// A service that counts its notifications.
#[derive(Default)]
struct Notifications(AtomicUsize);

impl FinalizerService for Notifications {
    fn finalizers_due(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Notifications {
    fn serve(ledger: &Ledger) -> Arc<Notifications> {
        let notifications = Arc::<Notifications>::default();
        ledger.set_finalizer_service(notifications.clone());
        notifications
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn the_parent_inherits_what_outlives_its_child() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let (older, newer) = (Probe::owned_by(&child), Probe::owned_by(&child));
    end(&child, &parent);
    assert!(child.is_empty());
    assert_eq!(parent.resources(), [&newer, &older].map(|probe| probe.ticket().info()));
    assert_eq!((older.finalized(), newer.finalized()), (0, 0));
    release(&older);
    assert_eq!((older.finalized(), parent.len()), (1, 1));
    finalize(&parent);
    assert_eq!(newer.finalized(), 1);
}

#[test]
fn the_next_task_that_uses_an_inherited_resource_becomes_its_owner() {
    type Use = fn(&Probe) -> Result<(), AccessError>;
    let uses: [Use; 2] = [|probe| check(probe), |probe| adopt(probe)];
    for first_use in uses {
        let (parent, user, other) = (Ledger::new(), Ledger::new(), Ledger::new());
        let probe = inherited_by(&parent);
        assert!(check(&probe).is_ok(), "outside any task it may be used");
        assert_eq!(parent.len(), 1, "and remains inherited");
        within(&user, || first_use(&probe)).unwrap();
        assert_eq!((parent.len(), user.len()), (0, 1));
        // From now on it has an owner like any other resource.
        assert!(within(&other, || check(&probe)).is_err());
        assert!(within(&parent, || check(&probe)).is_err());
        within(&user, || check(&probe)).unwrap();
    }
}

#[test]
fn the_parent_becomes_the_owner_by_its_own_use() {
    let (parent, other) = (Ledger::new(), Ledger::new());
    let probe = inherited_by(&parent);
    within(&parent, || check(&probe)).unwrap();
    assert!(within(&other, || check(&probe)).is_err());
    assert_eq!(parent.len(), 1);
}

#[test]
fn every_operation_of_an_owner_is_possible_on_an_inherited_resource() {
    let (parent, user, child) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probes = [(); 3].map(|()| inherited_by(&parent));
    within(&user, || {
        disown(&probes[0]).unwrap();
        transfer(&probes[1]).unwrap();
        give(&probes[2], &child).unwrap();
    });
    assert!(parent.is_empty() && user.is_empty());
    assert_eq!((user.take_transferred().len(), child.len()), (1, 1));
}

#[test]
fn a_resource_may_be_used_between_the_end_of_its_owner_and_the_delivery_to_the_parent() {
    let (child, parent, user) = (Ledger::new(), Ledger::new(), Ledger::new());
    let (early, late) = (Probe::owned_by(&child), Probe::owned_by(&child));
    child.leave_to_parent();
    within(&user, || check(&early)).unwrap();
    let left = child.take_transferred();
    within(&user, || check(&late)).unwrap();
    parent.receive(left);
    assert_eq!((parent.len(), user.len()), (0, 2));
    assert!(within(&parent, || check(&early)).is_err());
}

#[test]
fn an_inherited_resource_passes_on_until_a_task_has_no_parent() {
    let [first, second, root] = ["first", "second", "root"].map(named_ledger);
    let probe = Probe::owned_by(&named_ledger("maker"));
    within(&first, || adopt(&probe)).unwrap();
    end(&first, &second);
    end(&second, &root);
    root.take_back_transferred();
    let report = finalize(&root);
    assert_eq!(leaked(&report), [probe.ticket().info()]);
    let name = |owner: &Option<matou_ownership::OwnerInfo>| owner.clone()?.name;
    assert_eq!(name(&report.leaked[0].first_owner).as_deref(), Some("maker"));
    assert_eq!(name(&report.leaked[0].last_owner).as_deref(), Some("first"));
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn finalizers_run_newest_first_also_after_inheritance() {
    let (first, second, parent) = (Ledger::new(), Ledger::new(), Ledger::new());
    let log = Log::default();
    within(&parent, || log.leak("1"));
    within(&first, || ["2", "3"].into_iter().for_each(|event| log.leak(event)));
    within(&second, || log.leak("4"));
    end(&first, &parent);
    end(&second, &parent);
    within(&parent, || log.leak("5"));
    finalize(&parent);
    assert_eq!(log.take(), ["5", "4", "3", "2", "1"]);
}

#[test]
fn a_given_resource_does_not_pass_to_the_parent() {
    let (child, parent) = (Ledger::new(), Ledger::new());
    let (given, own) = (Probe::new(), Probe::owned_by(&child));
    give(&given, &child).unwrap();
    child.leave_to_parent();
    let report = finalize(&child);
    assert_eq!(leaked(&report), [given.ticket().info()]);
    assert!(report.leaked[0].given);
    parent.receive(child.take_transferred());
    assert_eq!(parent.resources(), [own.ticket().info()]);
}

#[test]
fn a_given_resource_that_moves_on_is_not_given_any_more() {
    let (child, user, parent) = (Ledger::new(), Ledger::new(), Ledger::new());
    let probe = Probe::new();
    give(&probe, &child).unwrap();
    within(&user, || adopt(&probe)).unwrap();
    end(&user, &parent);
    assert_eq!((parent.len(), probe.finalized()), (1, 0));
}

#[test]
fn a_value_whose_handle_was_dropped_is_finalized_by_its_owner() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    within(&child, || drop(log.owned_async("closed", &Gate::new_open())));
    end(&child, &parent);
    assert_eq!(log.take(), ["begin", "closed"]);
    assert!(parent.is_empty());
}

#[test]
fn an_asynchronous_finalizer_of_an_inherited_value_is_due_when_the_handle_is_dropped() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    let values =
        within(&child, || ["a", "b", "c"].map(|event| log.owned_async(event, &Gate::new_open())));
    end(&child, &parent);
    let notifications = Notifications::serve(&parent);
    let [a, b, c] = values;
    // Outside any task: the finalizers belong to the task that has inherited the values.
    thread::spawn(move || drop((a, b))).join().unwrap();
    assert_eq!(notifications.count(), 1, "one notification for all that are due");
    for _ in 0..2 {
        let due = parent.take_due().unwrap();
        assert_eq!(finalize(&due).finalized.len(), 1);
    }
    assert!(parent.take_due().is_none());
    assert_eq!(log.take(), ["begin", "b", "begin", "a"]);
    drop(c);
    assert_eq!((notifications.count(), parent.len()), (2, 1));
    // Without a service, the end of the owner finalizes it.
    assert_eq!(finalize(&parent).finalized.len(), 1);
    assert!(parent.take_due().is_none());
    assert_eq!(log.take(), ["begin", "c"]);
}

#[test]
fn a_task_that_drops_an_inherited_value_runs_its_finalizer() {
    let (child, parent, user) = (Ledger::new(), Ledger::new(), Ledger::new());
    let log = Log::default();
    let owned = within(&child, || log.owned_async("closed", &Gate::new_open()));
    end(&child, &parent);
    assert!(parent.needs_finalizer_service());
    assert!(!take_ledger_flag());
    within(&user, || drop(owned));
    assert!(parent.is_empty());
    // The runtime sets the service after the poll, and then the finalizer is due.
    assert!(take_ledger_flag() && user.needs_finalizer_service());
    let notifications = Notifications::serve(&user);
    assert_eq!(notifications.count(), 1);
    assert!(!user.needs_finalizer_service());
    finalize(&user.take_due().unwrap());
    assert_eq!(log.take(), ["begin", "closed"]);
    assert!(user.is_empty());
}

#[test]
fn a_value_dropped_on_its_way_to_the_parent_is_due_on_arrival() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    let owned = within(&child, || log.owned_async("closed", &Gate::new_open()));
    let notifications = Notifications::serve(&parent);
    child.leave_to_parent();
    drop(owned);
    parent.receive(child.take_transferred());
    assert_eq!(notifications.count(), 1);
    finalize(&parent.take_due().unwrap());
    assert_eq!(log.take(), ["begin", "closed"]);
}

#[test]
fn a_release_of_an_inherited_value_is_not_finalized_by_the_service_as_well() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    let gate = Gate::default();
    let owned = within(&child, || log.owned_async("closed", &gate));
    end(&child, &parent);
    let notifications = Notifications::serve(&parent);
    let mut release = owned.release();
    within(&parent, || assert!(poll_once(&mut release).is_pending()));
    assert_eq!(notifications.count(), 0, "the release runs it");
    // A release that is given up leaves the rest to the service.
    within(&parent, || drop(release));
    assert_eq!(notifications.count(), 1);
    gate.open();
    finalize(&parent.take_due().unwrap());
    assert_eq!(log.take(), ["begin", "closed"]);
}

#[test]
fn the_task_that_drops_a_moved_value_runs_its_finalizer() {
    let (maker, taker, log) = (Ledger::new(), Ledger::new(), Log::default());
    let owned = within(&maker, || log.owned_async("closed", &Gate::new_open()));
    within(&taker, || drop(owned));
    assert_eq!((maker.len(), taker.len()), (0, 1), "the maker may run for days");
    finalize(&taker);
    assert_eq!(log.take(), ["begin", "closed"]);
}

#[test]
fn the_owner_that_was_given_a_value_runs_its_finalizer_wherever_it_is_dropped() {
    let (owner, other, log) = (Ledger::new(), Ledger::new(), Log::default());
    let owned = log.owned_async("closed", &Gate::new_open());
    give(&owned, &owner).unwrap();
    within(&other, || drop(owned));
    assert_eq!((owner.len(), other.len()), (1, 0));
    assert!(finalize(&owner).leaked.is_empty());
}

#[test]
fn the_ledger_of_a_parent_does_not_grow_with_what_was_dropped() {
    let parent = Ledger::new();
    for round in 0..100_000 {
        let child = Ledger::new();
        let probe = Probe::owned_by(&child);
        end(&child, &parent);
        if round % 2 == 0 {
            within(&parent, || check(&probe)).unwrap();
        }
        release(&probe);
    }
    assert!(parent.is_empty());
    assert!(parent.capacity() <= 8, "capacity {}", parent.capacity());
}

#[test]
fn living_resources_of_one_line_accumulate_once() {
    let parent = Ledger::new();
    let line = line!() + 1;
    let make = |ledger: &Arc<Ledger>| within(ledger, || Owned::new((), drop));
    let mut values = Vec::new();
    let mut accumulated = Vec::new();
    for _ in 0..2100 {
        let child = Ledger::new();
        values.push(make(&child));
        child.leave_to_parent();
        accumulated.extend(parent.receive(child.take_transferred()));
        if values.len() == 1000 {
            assert!(accumulated.is_empty(), "a thousand may live");
        }
    }
    assert_eq!(accumulated.len(), 1);
    assert_eq!(accumulated[0].made_at.line(), line);
    // Resources that are used or dropped do not count.
    let other = Ledger::new();
    for _ in 0..2100 {
        let child = Ledger::new();
        let mut value = within(&child, || Owned::new((), drop));
        child.leave_to_parent();
        assert!(other.receive(child.take_transferred()).is_empty());
        within(&other, || value.get_mut().map(drop)).unwrap();
        values.push(value);
    }
}

#[test]
fn a_nested_scope_leaves_what_outlives_it_to_the_enclosing_scope() {
    let log = Log::default();
    let outcome = block_on(scope(async {
        let returned = scope(async { log.owned("returned") }).await.unwrap();
        assert_eq!(*returned.get().unwrap(), "returned");
        let (sender, receiver) = mpsc::channel();
        scope(async { sender.send(log.owned("sent")).unwrap() }).await.unwrap();
        let mut sent = receiver.recv().unwrap();
        assert_eq!(*sent.get_mut().unwrap(), "sent");
        scope(async { log.leak("leaked") }).await.unwrap();
        assert!(log.take().is_empty());
    }));
    assert_eq!(log.take(), ["sent", "returned", "leaked"]);
    let error = outcome.unwrap_err();
    assert_eq!(error.leaked().len(), 1);
    assert_eq!(error.leaked()[0].first_owner.as_ref().unwrap().name.as_deref(), Some("scope"));
}

#[test]
fn a_scope_that_is_dropped_leaves_what_outlives_it_to_the_enclosing_scope() {
    let log = Log::default();
    let outcome = block_on(scope(async {
        let (sender, receiver) = mpsc::channel();
        let mut inner = scope(async {
            sender.send(log.owned("sent")).unwrap();
            Gate::default().opened().await;
        });
        assert!(poll_once(&mut inner).is_pending());
        drop(inner);
        receiver.recv().unwrap().get().is_ok()
    }));
    assert!(outcome.unwrap());
    assert_eq!(log.take(), ["sent"]);
}

#[test]
fn a_panicking_finalizer_prevents_no_other_one_also_after_inheritance() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    within(&child, || {
        log.leak("oldest");
        mem::forget(Owned::new((), |()| panic!("on purpose")));
        log.leak("newest");
    });
    end(&child, &parent);
    let report = finalize(&parent);
    assert_eq!(log.take(), ["newest", "oldest"]);
    assert_eq!(report.panicked.len(), 1);
}

/// Handles are used and dropped on one thread while their owners end on another.
#[test]
fn each_finalizer_runs_once_while_threads_race_with_the_ends_of_owners() {
    let (sender, receiver) = mpsc::channel::<Owned<u32>>();
    let finalized = Arc::new(Mutex::new(vec![0; 20_000]));
    let user = thread::spawn(move || {
        let entered = enter(None);
        for (index, mut owned) in receiver.into_iter().enumerate() {
            if index % 3 == 0 {
                owned.get_mut().map(drop).unwrap();
            }
            if index % 5 == 0 {
                thread::sleep(Duration::from_micros(1));
            }
            drop(owned);
        }
        entered.leave().is_none_or(|ledger| ledger.is_empty())
    });
    let root = Ledger::new();
    for number in 0..20_000 {
        let child = Ledger::new();
        let counts = finalized.clone();
        let owned = within(&child, || {
            Owned::new(number, move |number| counts.lock().unwrap()[number as usize] += 1)
        });
        sender.send(owned).unwrap();
        child.leave_to_parent();
        assert!(finalize(&child).finalized.is_empty());
        // Many may be alive, if the other thread is slow.
        drop(root.receive(child.take_transferred()));
    }
    drop(sender);
    assert!(user.join().unwrap());
    assert!(root.is_empty());
    assert!(finalized.lock().unwrap().iter().all(|&count| count == 1));
}
