//! Does a released value end well, also if nobody waits for it?

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::executor::block_on;
use futures::future::{LocalBoxFuture, poll_fn};
use matou_ownership::{Ledger, Owned, ResourceHandle, enter, in_finalizer, scope};

use crate::doubles::{Gate, Log, poll_once, within};

#[test]
fn a_synchronous_release_is_over_before_it_is_awaited() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let release = within(&ledger, || log.owned("now").release());
    assert_eq!(log.take(), ["now"]);
    assert!(ledger.is_empty());
    block_on(release);
}

#[test]
fn an_asynchronous_release_ends_before_the_task() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let gate = Gate::default();
    let mut release = within(&ledger, || log.owned_async("now", &gate).release());
    within(&ledger, || assert!(poll_once(&mut release).is_pending()));
    assert_eq!(ledger.len(), 1, "it is the owner's until its end");
    gate.unlock();
    within(&ledger, || assert!(poll_once(&mut release).is_ready()));
    assert!(ledger.is_empty());
    assert_eq!(log.take(), ["begin", "now"]);
    assert!(poll_once(&mut release).is_ready());
}

#[test]
fn a_release_that_is_never_polled_is_a_drop() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("later", &Gate::open()).release()));
    let settled = block_on(ledger.finalize_all());
    assert_eq!((settled.finalized.len(), settled.leaked.len()), (1, 0));
    assert_eq!(log.take(), ["begin", "later"]);
}

#[test]
fn a_release_that_is_cancelled_half_way_is_finished_by_the_settlement() {
    let (ledger, log, gate) = (Ledger::new(), Log::default(), Gate::default());
    within(&ledger, || {
        let mut release = log.owned_async("whole", &gate).release();
        assert!(poll_once(&mut release).is_pending());
    });
    assert_eq!(log.take(), ["begin"]);
    let mut settle = ledger.finalize_all();
    assert!(poll_once(&mut settle).is_pending());
    gate.unlock();
    let settled = block_on(settle);
    assert_eq!(log.take(), ["whole"], "it went on from where it stood");
    assert_eq!((settled.finalized.len(), settled.leaked.len()), (1, 0));
}

#[test]
fn who_releases_a_moved_value_becomes_its_owner() {
    let (maker, taker) = (Ledger::new(), Ledger::new());
    let (log, gate) = (Log::default(), Gate::default());
    let owned = within(&maker, || log.owned_async("whole", &gate));
    let mut release = owned.release();
    within(&taker, || assert!(poll_once(&mut release).is_pending()));
    assert_eq!((maker.len(), taker.len()), (0, 1));
    within(&taker, || drop(release));
    gate.unlock();
    let settled = block_on(taker.finalize_all());
    assert_eq!(log.take(), ["begin", "whole"]);
    assert_eq!((settled.finalized.len(), settled.leaked.len()), (1, 0));
}

#[test]
fn a_release_that_is_cancelled_half_way_in_a_scope_is_polled_once_more_and_reported() {
    let (log, gate) = (Log::default(), Gate::default());
    let (events, never) = (log.clone(), gate.clone());
    let outcome = block_on(scope(async move {
        let mut release = events.owned_async("whole", &never).release();
        assert!(poll_once(&mut release).is_pending());
    }));
    assert_eq!(outcome.unwrap_err().unfinished().len(), 1);
    assert_eq!(log.take(), ["begin"]);
}

#[test]
fn a_release_dropped_half_way_outside_any_scope_drops_the_finalizer_there() {
    let (log, gate) = (Log::default(), Gate::default());
    let owned = log.owned_async("never", &gate);
    let resource = owned.resource();
    let mut release = owned.release();
    assert!(poll_once(&mut release).is_pending());
    drop(release);
    assert!(resource.ticket().is_finalized());
    gate.unlock();
    assert_eq!(log.take(), ["begin"]);
}

#[test]
fn a_finalizer_that_panics_in_a_release_is_over() {
    type Made = fn() -> LocalBoxFuture<'static, ()>;
    let ledger = Ledger::new();
    let entered = enter(Some(ledger.clone()));
    let polled: Made = || Box::pin(poll_fn(|_| panic!("polled")));
    let made: Made = || panic!("made");
    for finalizer in [polled, made] {
        let owned = Owned::with_async(finalizer, |finalizer| finalizer());
        let mut release = owned.release();
        assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut release))).is_err());
        assert!(!in_finalizer());
        drop(release);
        assert!(ledger.is_empty());
    }
    entered.leave();
    assert_eq!(block_on(ledger.finalize_all()).finalized, []);
}

#[test]
fn a_settlement_elsewhere_does_not_run_a_finalizer_twice() {
    let (ledger, log, gate) = (Ledger::new(), Log::default(), Gate::default());
    let mut release = within(&ledger, || log.owned_async("once", &gate).release());
    within(&ledger, || assert!(poll_once(&mut release).is_pending()));
    let books = ledger.clone();
    std::thread::spawn(move || drop(block_on(books.finalize_all()))).join().unwrap();
    gate.unlock();
    block_on(release);
    assert_eq!(log.take(), ["begin", "once"]);
}
