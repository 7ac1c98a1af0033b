//! Does a settlement finalize everything once, newest first, whatever the finalizers do?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, adopt, check, give, in_finalizer, in_task, own, release,
};

use crate::doubles::{Gate, Log, Probe, poll_once, within};

#[test]
fn the_newest_goes_first_also_after_moves() {
    let (ledger, log, other) = (Ledger::new(), Log::default(), Ledger::new());
    let mut things = Vec::new();
    within(&ledger, || {
        for name in ["a", "b", "c", "d"] {
            things.push(log.owned(name));
        }
    });
    // "b" leaves and comes back, so it is the newest now; "c" is gone.
    within(&other, || adopt(&things[1])).unwrap();
    within(&ledger, || adopt(&things[1])).unwrap();
    drop(things.remove(2));
    assert_eq!(log.take(), ["c"]);
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["b", "d", "a"]);
    assert_eq!(settled.leaked, settled.finalized);
    drop(things);
    assert!(log.take().is_empty());
}

#[test]
fn asynchronous_finalizers_are_awaited_one_after_the_other() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let (slow, open) = (Gate::default(), Gate::open());
    let things = within(&ledger, || {
        (log.owned("oldest"), log.owned_async("slow", &slow), log.owned_async("newest", &open))
    });
    let infos = [things.2.info(), things.1.info(), things.0.info()];
    let mut settle = ledger.finalize_all();
    assert_eq!(settle.unfinished(), infos);
    assert!(poll_once(&mut settle).is_pending());
    assert_eq!(log.take(), ["begin", "newest", "begin"]);
    assert_eq!(settle.unfinished(), infos[1..]);
    assert!(poll_once(&mut settle).is_pending());
    slow.unlock();
    let settled = block_on(settle);
    assert_eq!(log.take(), ["slow", "oldest"]);
    assert_eq!((settled.finalized, settled.leaked), (infos.to_vec(), infos.to_vec()));
    assert!(settled.unfinished.is_empty() && settled.panicked.is_empty());
}

#[test]
fn what_was_dropped_before_is_finalized_but_not_leaked() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("late", &Gate::open())));
    assert_eq!(ledger.len(), 1);
    assert!(log.take().is_empty());
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["begin", "late"]);
    assert_eq!((settled.finalized.len(), settled.leaked.len()), (1, 0));
}

#[test]
fn what_was_dropped_in_transit_is_no_leak_of_the_parent() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    within(&child, || {
        let owned = log.owned_async("late", &Gate::open());
        matou_ownership::transfer(&owned).unwrap();
    });
    parent.receive(child.take_transferred());
    let settled = block_on(parent.finalize_all());
    assert_eq!((settled.finalized.len(), settled.leaked.len()), (1, 0));
}

#[test]
fn inherit_all_keeps_what_was_dropped_already() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("late", &Gate::open())));
    ledger.transfer_all();
    assert!(ledger.take_transferred().is_empty());
    assert_eq!(block_on(ledger.finalize_all()).finalized.len(), 1);
}

#[test]
fn what_enters_during_the_settlement_is_settled_too_but_not_leaked() {
    let (ledger, gate, log) = (Ledger::new(), Gate::default(), Log::default());
    let slow = within(&ledger, || log.owned_async("slow", &gate));
    let mut settle = ledger.finalize_all();
    assert!(poll_once(&mut settle).is_pending());
    let late = Probe::new();
    give(&late, &ledger).unwrap();
    gate.unlock();
    let settled = block_on(settle);
    assert_eq!(late.finalized(), 1);
    assert_eq!(settled.leaked, [slow.info()]);
    assert_eq!(settled.finalized, [slow.info(), late.ticket().info()]);
}

#[test]
fn a_finalizer_runs_in_its_owners_place() {
    let ledger = Ledger::new();
    let older = Arc::new(Probe::new());
    let used = older.clone();
    let asynchronous = older.clone();
    within(&ledger, || {
        own(&older.resource());
        std::mem::forget(Owned::new((), move |()| {
            assert!(in_finalizer());
            check(&used).unwrap();
        }));
        std::mem::forget(Owned::with_async((), move |()| async move {
            assert!(in_task());
            assert!(in_finalizer());
            check(&asynchronous).unwrap();
        }));
    });
    let settled = block_on(ledger.finalize_all());
    assert_eq!(settled.panicked, []);
    assert_eq!(settled.finalized.len(), 3);
    assert!(!in_task() && !in_finalizer());
}

#[test]
fn a_value_that_holds_another_resource_releases_it_in_its_finalizer() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let text = log.clone();
    within(&ledger, || {
        let inner = log.owned("inner");
        std::mem::forget(Owned::with_async(inner, move |inner| async move {
            text.add("outer");
            assert_eq!(*inner.get().unwrap(), "inner");
            inner.release().await;
        }));
    });
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["outer", "inner"]);
    assert_eq!((settled.finalized.len(), settled.panicked.len()), (1, 0));
}

#[test]
fn a_finalizer_that_takes_a_resource_of_another_leaves_nothing_behind() {
    let (ledger, other) = (Ledger::new(), Ledger::new());
    let theirs = Arc::new(Probe::new());
    within(&other, || own(&theirs.resource()));
    let taken = theirs.clone();
    within(&ledger, || {
        std::mem::forget(Owned::new((), move |()| adopt(&taken).unwrap()));
    });
    let settled = block_on(ledger.finalize_all());
    assert_eq!((theirs.finalized(), settled.finalized.len(), settled.leaked.len()), (1, 2, 1));
    assert!(ledger.is_empty() && other.is_empty());
}

#[test]
fn panics_are_caught_at_every_step_and_the_rest_still_run() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        std::mem::forget(log.owned("oldest"));
        std::mem::forget(Owned::new((), |()| panic!("sync {}", 1)));
        std::mem::forget(Owned::with_async((), |()| -> std::future::Ready<()> { panic!("made") }));
        std::mem::forget(Owned::with_async((), |()| async { panic!("polled") }));
        std::mem::forget(Owned::with_async((), |()| {
            let bomb = Bomb;
            std::future::poll_fn(move |_| {
                let _ = &bomb;
                std::task::Poll::Ready(())
            })
        }));
        std::mem::forget(Owned::new((), |()| std::panic::panic_any(Bomb)));
        std::mem::forget(log.owned("newest"));
    });
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["newest", "oldest"]);
    let texts: Vec<_> = settled.panicked.iter().map(|(_, text)| text.as_str()).collect();
    let expected = ["panic payload of unknown type", "dropped", "polled", "made", "sync 1"];
    assert_eq!(texts, expected);
    assert_eq!(settled.finalized.len(), 7);
}

#[test]
fn to_abandon_a_settlement_runs_what_can_run_and_names_the_rest() {
    let (ledger, log, never) = (Ledger::new(), Log::default(), Gate::default());
    let things = within(&ledger, || {
        (
            log.owned("sync"),
            log.owned_async("stuck too", &never),
            log.owned_async("quick", &Gate::open()),
            log.owned_async("stuck", &never),
        )
    });
    let mut settle = ledger.finalize_all();
    assert!(poll_once(&mut settle).is_pending());
    let settled = settle.finish_without_waiting();
    assert_eq!(log.take(), ["begin", "begin", "quick", "begin", "sync"]);
    assert_eq!(settled.unfinished, [things.3.info(), things.1.info()]);
    assert_eq!(settled.finalized.len(), 4);
    assert!(ledger.is_empty());
    drop(things);
    assert!(log.take().is_empty());
}

#[test]
fn a_dropped_settlement_is_abandoned_also_while_panicking() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        std::mem::forget(log.owned("sync"));
        std::mem::forget(Owned::new((), |()| panic!("second")));
    });
    let settle = ledger.finalize_all();
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _settle = settle;
        panic!("first");
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"first"));
    assert_eq!(log.take(), ["sync"]);
}

#[test]
fn a_completed_settlement_refuses_to_be_polled() {
    let mut settle = Ledger::new().finalize_all();
    assert!(poll_once(&mut settle).is_ready());
    let caught = catch_unwind(AssertUnwindSafe(|| poll_once(&mut settle))).unwrap_err();
    assert!(crate::doubles::message(caught).contains("after it had completed"));
}

#[test]
fn a_panic_that_a_panicking_thread_swallowed_is_reported_at_the_end() {
    let ledger = Ledger::new();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        within(&ledger, || {
            let _loud = Owned::new((), |()| panic!("second"));
            panic!("first");
        })
    }));
    assert!(caught.is_err());
    let settled = block_on(ledger.finalize_all());
    assert_eq!(settled.panicked.len(), 1);
    assert_eq!(settled.panicked[0].1, "second");
    assert!(settled.finalized.is_empty());
}

#[test]
fn a_leaked_guard_is_reported_and_hangs_nobody() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = Box::leak(Box::new(within(&ledger, || log.owned("never"))));
    within(&ledger, || std::mem::forget(owned.get().unwrap()));
    let settled = block_on(ledger.finalize_all());
    assert_eq!(settled.leaked, [owned.info()]);
    assert!(settled.panicked[0].1.contains("is borrowed"), "{:?}", settled.panicked);
    assert!(log.take().is_empty());
}

#[test]
fn a_guard_that_outlives_the_settlement_finalizes_when_it_is_dropped() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = log.owned("late");
    let guard = owned.get().unwrap();
    within(&ledger, || check(&owned)).unwrap();
    let settled = block_on(ledger.finalize_all());
    assert_eq!(settled.panicked.len(), 1);
    assert_eq!(*guard, "late");
    drop(guard);
    assert_eq!(log.take(), ["late"]);
    assert!(owned.get().is_err());
    drop(owned);
    assert!(log.take().is_empty());
}

#[test]
fn a_finalizer_may_release_what_the_settlement_has_not_reached() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let slot = Arc::new(Mutex::new(None));
    let inner = slot.clone();
    within(&ledger, || {
        *slot.lock().unwrap() = Some(log.owned("older"));
        std::mem::forget(Owned::new((), move |()| {
            let older: Option<Owned<_>> = inner.lock().unwrap().take();
            release(&older.unwrap());
        }));
    });
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["older"]);
    assert_eq!((settled.finalized.len(), settled.panicked.len()), (1, 0));
}
