//! Does a released value get finalized, even if the release future is dropped?

use futures::executor::block_on;
use futures::future::{LocalBoxFuture, poll_fn};
use matou_ownership::{Ledger, Owned, ResourceHandle, enter, in_finalizer};

use crate::support::{Gate, Log, finalize, panic_of, poll_once, run_scope, within};

#[test]
fn a_synchronous_release_completes_before_it_is_awaited() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let release = within(&ledger, || log.owned("now").release());
    assert_eq!(log.take(), ["now"]);
    assert!(ledger.is_empty());
    block_on(release);
}

#[test]
fn an_asynchronous_release_completes_before_the_task_ends() {
    let (ledger, log, gate) = (Ledger::new(), Log::default(), Gate::default());
    let mut release = within(&ledger, || log.owned_async("now", &gate).release());
    within(&ledger, || assert!(poll_once(&mut release).is_pending()));
    assert_eq!(ledger.len(), 1, "the task owns it until the finalizer completes");
    gate.open();
    within(&ledger, || assert!(poll_once(&mut release).is_ready()));
    assert!(ledger.is_empty());
    assert_eq!(log.take(), ["begin", "now"]);
    assert!(poll_once(&mut release).is_ready());
}

#[test]
fn a_release_that_is_never_polled_is_a_drop() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("later", &Gate::new_open()).release()));
    let report = finalize(&ledger);
    assert_eq!((report.finalized.len(), report.leaked.len()), (1, 0));
    assert_eq!(log.take(), ["begin", "later"]);
}

#[test]
fn the_end_of_the_task_continues_a_suspended_release() {
    let (ledger, log, gate) = (Ledger::new(), Log::default(), Gate::default());
    within(&ledger, || {
        let mut release = log.owned_async("end", &gate).release();
        assert!(poll_once(&mut release).is_pending());
    });
    assert_eq!(log.take(), ["begin"]);
    let mut finalize = ledger.finalize_all();
    assert!(poll_once(&mut finalize).is_pending());
    gate.open();
    let report = block_on(finalize);
    assert_eq!(log.take(), ["end"], "the finalizer must not start again");
    assert_eq!((report.finalized.len(), report.leaked.len()), (1, 0));
}

#[test]
fn a_task_that_polls_a_release_becomes_the_owner() {
    let (maker, taker) = (Ledger::new(), Ledger::new());
    let (log, gate) = (Log::default(), Gate::default());
    let owned = within(&maker, || log.owned_async("end", &gate));
    let mut release = owned.release();
    within(&taker, || assert!(poll_once(&mut release).is_pending()));
    assert_eq!((maker.len(), taker.len()), (0, 1));
    within(&taker, || drop(release));
    gate.open();
    let report = finalize(&taker);
    assert_eq!(log.take(), ["begin", "end"]);
    assert_eq!((report.finalized.len(), report.leaked.len()), (1, 0));
}

#[test]
fn a_suspended_release_in_a_scope_is_polled_once_more_and_reported() {
    let (outcome, events) = run_scope(|log| async move {
        let mut release = log.owned_async("never", &Gate::default()).release();
        assert!(poll_once(&mut release).is_pending());
    });
    assert_eq!(outcome.unwrap_err().unfinished().len(), 1);
    assert_eq!(events, ["begin"]);
}

#[test]
fn dropping_a_started_release_outside_any_task_drops_the_finalizer() {
    let (log, gate) = (Log::default(), Gate::default());
    let owned = log.owned_async("never", &gate);
    let resource = owned.resource();
    let mut release = owned.release();
    assert!(poll_once(&mut release).is_pending());
    drop(release);
    assert!(resource.ticket().is_finalized());
    gate.open();
    assert_eq!(log.take(), ["begin"]);
}

#[test]
fn a_finalizer_that_panics_in_a_release_does_not_run_again() {
    type Finalizer = fn() -> LocalBoxFuture<'static, ()>;
    let ledger = Ledger::new();
    let entered = enter(Some(ledger.clone()));
    let panics_when_polled: Finalizer = || Box::pin(poll_fn(|_| panic!("polled")));
    let panics_when_called: Finalizer = || panic!("called");
    for (finalizer, message) in [(panics_when_polled, "polled"), (panics_when_called, "called")] {
        let owned = Owned::with_async(finalizer, |finalizer| finalizer());
        let mut release = owned.release();
        assert_eq!(panic_of(|| poll_once(&mut release)), message);
        assert!(!in_finalizer());
        drop(release);
        assert!(ledger.is_empty());
    }
    entered.leave();
    assert_eq!(finalize(&ledger).finalized, []);
}

#[test]
fn the_end_of_the_task_on_another_thread_does_not_run_the_finalizer_again() {
    let (ledger, log, gate) = (Ledger::new(), Log::default(), Gate::default());
    let mut release = within(&ledger, || log.owned_async("once", &gate).release());
    within(&ledger, || assert!(poll_once(&mut release).is_pending()));
    std::thread::scope(|scope| scope.spawn(|| drop(finalize(&ledger))).join().unwrap());
    gate.open();
    block_on(release);
    assert_eq!(log.take(), ["begin", "once"]);
}
