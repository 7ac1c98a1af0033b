//! Does the end of a task finalize every resource once, newest first, whatever the finalizers do?

use std::future::{Ready, poll_fn};
use std::mem;
use std::panic::panic_any;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures::executor::block_on;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, adopt, check, give, in_finalizer, in_task, release, transfer,
};

use crate::support::{
    Gate, Log, Probe, created_here, finalize, leaked, panic_of, poll_once, within,
};

#[test]
fn the_newest_resource_is_finalized_first_also_after_moves() {
    let (ledger, log, other) = (Ledger::new(), Log::default(), Ledger::new());
    let mut values = Vec::new();
    within(&ledger, || {
        for name in ["a", "b", "c", "d"] {
            values.push(log.owned(name));
        }
    });
    // "b" is moved away and back, so it is the newest now; "c" is finalized here.
    within(&other, || adopt(&values[1])).unwrap();
    within(&ledger, || adopt(&values[1])).unwrap();
    drop(values.remove(2));
    assert_eq!(log.take(), ["c"]);
    let report = finalize(&ledger);
    assert_eq!(log.take(), ["b", "d", "a"]);
    assert_eq!(leaked(&report), report.finalized);
    drop(values);
    assert!(log.take().is_empty());
}

#[test]
fn asynchronous_finalizers_run_one_after_the_other() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let (slow, open) = (Gate::default(), Gate::new_open());
    let values = within(&ledger, || {
        (log.owned("oldest"), log.owned_async("slow", &slow), log.owned_async("newest", &open))
    });
    let infos = [values.2.info(), values.1.info(), values.0.info()];
    let mut finalization = ledger.finalize_all();
    assert_eq!(finalization.unfinished(), infos);
    assert!(poll_once(&mut finalization).is_pending());
    assert_eq!(log.take(), ["begin", "newest", "begin"]);
    assert_eq!(finalization.unfinished(), infos[1..]);
    assert!(poll_once(&mut finalization).is_pending());
    slow.open();
    let report = block_on(finalization);
    assert_eq!(log.take(), ["slow", "oldest"]);
    assert_eq!((leaked(&report), report.finalized), (infos.to_vec(), infos.to_vec()));
    assert!(report.unfinished.is_empty() && report.panicked.is_empty());
}

#[test]
fn a_dropped_asynchronous_value_is_finalized_but_not_leaked() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("late", &Gate::new_open())));
    assert_eq!(ledger.len(), 1);
    assert!(log.take().is_empty());
    let report = finalize(&ledger);
    assert_eq!(log.take(), ["begin", "late"]);
    assert_eq!((report.finalized.len(), report.leaked.len()), (1, 0));
}

#[test]
fn a_value_dropped_in_transit_is_not_leaked_by_the_parent() {
    let (child, parent, log) = (Ledger::new(), Ledger::new(), Log::default());
    within(&child, || {
        let owned = log.owned_async("late", &Gate::new_open());
        transfer(&owned).unwrap();
    });
    parent.receive(child.take_transferred());
    let report = finalize(&parent);
    assert_eq!((report.finalized.len(), report.leaked.len()), (1, 0));
}

#[test]
fn a_value_whose_handle_was_dropped_is_not_left_to_the_parent() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("late", &Gate::new_open())));
    ledger.leave_to_parent();
    assert!(ledger.take_transferred().is_empty());
    assert_eq!(finalize(&ledger).finalized.len(), 1);
}

#[test]
fn a_resource_added_during_finalization_is_finalized_but_not_leaked() {
    let (ledger, gate, log) = (Ledger::new(), Gate::default(), Log::default());
    let slow = within(&ledger, || log.owned_async("slow", &gate));
    let mut finalization = ledger.finalize_all();
    assert!(poll_once(&mut finalization).is_pending());
    let late = Probe::new();
    give(&late, &ledger).unwrap();
    gate.open();
    let report = block_on(finalization);
    assert_eq!(late.finalized(), 1);
    assert_eq!(leaked(&report), [slow.info()]);
    assert_eq!(report.finalized, [slow.info(), late.ticket().info()]);
}

#[test]
fn a_finalizer_runs_as_its_owner() {
    let ledger = Ledger::new();
    let older = Arc::new(Probe::owned_by(&ledger));
    let (used, used_async) = (older.clone(), older.clone());
    within(&ledger, || {
        mem::forget(Owned::new((), move |()| {
            assert!(in_finalizer());
            check(&used).unwrap();
        }));
        mem::forget(Owned::with_async((), move |()| async move {
            assert!(in_task());
            assert!(in_finalizer());
            check(&used_async).unwrap();
        }));
    });
    let report = finalize(&ledger);
    assert_eq!(report.panicked, []);
    assert_eq!(report.finalized.len(), 3);
    assert!(!in_task() && !in_finalizer());
}

#[test]
fn a_value_that_holds_another_resource_releases_it_in_its_finalizer() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let outer_log = log.clone();
    within(&ledger, || {
        let inner = log.owned("inner");
        mem::forget(Owned::with_async(inner, move |inner| async move {
            outer_log.add("outer");
            assert_eq!(*inner.get().unwrap(), "inner");
            inner.release().await;
        }));
    });
    let report = finalize(&ledger);
    assert_eq!(log.take(), ["outer", "inner"]);
    assert_eq!((report.finalized.len(), report.panicked.len()), (1, 0));
}

#[test]
fn a_resource_that_a_finalizer_adopts_is_finalized_too() {
    let (ledger, other) = (Ledger::new(), Ledger::new());
    let foreign = Arc::new(Probe::owned_by(&other));
    let adopted = foreign.clone();
    within(&ledger, || {
        mem::forget(Owned::new((), move |()| adopt(&adopted).unwrap()));
    });
    let report = finalize(&ledger);
    assert_eq!((foreign.finalized(), report.finalized.len(), report.leaked.len()), (1, 2, 1));
    assert!(ledger.is_empty() && other.is_empty());
}

#[test]
fn panics_are_caught_at_every_step_and_the_other_finalizers_run() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        log.leak("oldest");
        mem::forget(Owned::new((), |()| panic!("sync {}", 1)));
        mem::forget(Owned::with_async((), |()| -> Ready<()> { panic!("called") }));
        mem::forget(Owned::with_async((), |()| async { panic!("polled") }));
        mem::forget(Owned::with_async((), |()| {
            let guard = PanicOnDrop;
            poll_fn(move |_| {
                let _ = &guard;
                Poll::Ready(())
            })
        }));
        mem::forget(Owned::new((), |()| panic_any(PanicOnDrop)));
        log.leak("newest");
    });
    let report = finalize(&ledger);
    assert_eq!(log.take(), ["newest", "oldest"]);
    let texts: Vec<_> = report.panicked.iter().map(|(_, text)| text.as_str()).collect();
    let expected = ["panic payload of unknown type", "dropped", "polled", "called", "sync 1"];
    assert_eq!(texts, expected);
    assert_eq!(report.finalized.len(), 7);
}

#[test]
fn finish_without_waiting_runs_synchronous_finalizers_and_reports_the_unfinished() {
    let (ledger, log, never) = (Ledger::new(), Log::default(), Gate::default());
    let values = within(&ledger, || {
        (
            log.owned("sync"),
            log.owned_async("stuck too", &never),
            log.owned_async("quick", &Gate::new_open()),
            log.owned_async("stuck", &never),
        )
    });
    let mut finalization = ledger.finalize_all();
    assert!(poll_once(&mut finalization).is_pending());
    let report = finalization.finish_without_waiting();
    assert_eq!(log.take(), ["begin", "begin", "quick", "begin", "sync"]);
    assert_eq!(report.unfinished, [values.3.info(), values.1.info()]);
    assert_eq!(report.finalized.len(), 4);
    assert!(ledger.is_empty());
    drop(values);
    assert!(log.take().is_empty());
}

#[test]
fn a_dropped_finalization_runs_synchronous_finalizers_also_while_panicking() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        log.leak("sync");
        mem::forget(Owned::new((), |()| panic!("second")));
    });
    let finalization = ledger.finalize_all();
    let message = panic_of(move || {
        let _finalization = finalization;
        panic!("first");
    });
    assert_eq!(message, "first");
    assert_eq!(log.take(), ["sync"]);
}

#[test]
fn polling_a_completed_finalization_panics() {
    let mut finalization = Ledger::new().finalize_all();
    assert!(poll_once(&mut finalization).is_ready());
    assert!(panic_of(|| poll_once(&mut finalization)).contains(&created_here(file!())));
}

#[test]
fn a_panic_caught_on_a_panicking_thread_is_reported_at_the_end() {
    let ledger = Ledger::new();
    let message = panic_of(|| {
        within(&ledger, || {
            let _second = Owned::new((), |()| panic!("second"));
            panic!("first");
        })
    });
    assert_eq!(message, "first");
    let report = finalize(&ledger);
    assert_eq!(report.panicked.len(), 1);
    assert_eq!(report.panicked[0].1, "second");
    assert!(report.finalized.is_empty());
}

#[test]
fn a_leaked_guard_is_reported_and_does_not_block() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = Box::leak(Box::new(within(&ledger, || log.owned("never"))));
    within(&ledger, || mem::forget(owned.get().unwrap()));
    let report = finalize(&ledger);
    assert_eq!(leaked(&report), [owned.info()]);
    assert!(report.panicked[0].1.contains("is borrowed"), "{:?}", report.panicked);
    assert!(log.take().is_empty());
}

#[test]
fn a_guard_that_outlives_the_owner_finalizes_when_it_is_dropped() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = log.owned("late");
    let guard = owned.get().unwrap();
    within(&ledger, || check(&owned)).unwrap();
    let report = finalize(&ledger);
    assert_eq!(report.panicked.len(), 1);
    assert_eq!(*guard, "late");
    drop(guard);
    assert_eq!(log.take(), ["late"]);
    assert!(owned.get().is_err());
    drop(owned);
    assert!(log.take().is_empty());
}

#[test]
fn a_finalizer_can_release_an_older_resource() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let slot = Arc::new(Mutex::new(None));
    let inner = slot.clone();
    within(&ledger, || {
        *slot.lock().unwrap() = Some(log.owned("older"));
        mem::forget(Owned::new((), move |()| {
            let older: Option<Owned<_>> = inner.lock().unwrap().take();
            release(&older.unwrap());
        }));
    });
    let report = finalize(&ledger);
    assert_eq!(log.take(), ["older"]);
    assert_eq!((report.finalized.len(), report.panicked.len()), (1, 0));
}
