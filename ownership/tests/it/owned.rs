//! Does an `Owned` guard its value, and finalize it exactly once?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures::executor::block_on;
use matou_ownership::{Ledger, Owned, OwnedError, enter, own};

use crate::doubles::{Gate, Log, within};

#[test]
fn a_value_is_read_by_its_owner_and_written_through_the_handle() {
    let mut owned = Owned::new(1, drop);
    *owned.get_mut().unwrap() += 1;
    assert_eq!(*owned.get().unwrap(), 2);
    assert_eq!(format!("{:?} {:?}", owned.get().unwrap(), "x"), "2 \"x\"");
}

#[test]
fn a_second_guard_is_an_error_and_no_deadlock() {
    let owned = Owned::new(1, drop);
    let guard = owned.get().unwrap();
    let error = owned.get().unwrap_err();
    assert!(matches!(error, OwnedError::Borrowed(_)));
    assert!(error.to_string().contains("drop the guard"));
    drop(guard);
    assert!(owned.get().is_ok());
}

#[test]
fn get_is_for_the_owner_and_get_mut_makes_one() {
    let (mine, yours) = (Ledger::new(), Ledger::new());
    let mut owned = within(&mine, || Owned::new(1, drop));
    within(&yours, || assert!(matches!(owned.get(), Err(OwnedError::NotOwner(_)))));
    assert!(yours.take_not_owner().is_some());
    within(&yours, || *owned.get_mut().unwrap() = 2);
    assert_eq!((mine.len(), yours.len()), (0, 1));
    within(&yours, || assert_eq!(*owned.get().unwrap(), 2));
}

#[test]
fn into_inner_gives_the_value_and_forgets_the_finalizer() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned("never"));
    assert_eq!(owned.into_inner().unwrap(), "never");
    assert!(ledger.is_empty());
    assert_eq!(block_on(ledger.finalize_all()).finalized, []);
    assert!(log.take().is_empty());
}

#[test]
fn into_inner_after_the_owners_end_is_an_error() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned("once"));
    block_on(ledger.finalize_all());
    assert!(matches!(owned.into_inner(), Err(OwnedError::Finalized(_))));
    assert_eq!(log.take(), ["once"]);
}

#[test]
fn into_inner_behind_a_leaked_guard_is_an_error_and_no_panic() {
    let owned = Owned::new(1, drop);
    std::mem::forget(owned.get().unwrap());
    assert!(matches!(owned.into_inner(), Err(OwnedError::Borrowed(_))));
}

#[test]
fn a_panic_while_borrowed_does_not_keep_the_finalizer_from_running() {
    let log = Log::default();
    let owned = log.owned("once");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _guard = owned.get().unwrap();
        panic!("in the middle");
    }));
    assert!(caught.is_err());
    assert_eq!(*owned.get().unwrap(), "once");
    drop(owned);
    assert_eq!(log.take(), ["once"]);
}

#[test]
fn dropping_runs_a_synchronous_finalizer_there_and_then() {
    let (ledger, log) = (Ledger::new(), Log::default());
    drop(log.owned("outside"));
    within(&ledger, || {
        drop(log.owned("inside"));
        assert_eq!(log.take(), ["outside", "inside"]);
    });
    let owned = within(&ledger, || log.owned("elsewhere"));
    std::thread::spawn(move || drop(owned)).join().unwrap();
    assert_eq!(log.take(), ["elsewhere"]);
    assert!(ledger.is_empty());
}

#[test]
fn a_panicking_finalizer_panics_out_of_the_drop_once() {
    let owned = Owned::new((), |()| panic!("loud"));
    let caught = catch_unwind(AssertUnwindSafe(|| drop(owned))).unwrap_err();
    assert_eq!(caught.downcast_ref::<&str>(), Some(&"loud"));
    own(&matou_ownership::ResourceHandle::resource(&Owned::new(1, drop)));
}

#[test]
fn two_panicking_finalizers_in_one_scope_do_not_abort() {
    let log = Log::default();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _last = log.owned("last");
        let _second = Owned::new((), |()| panic!("second"));
        let _first = Owned::new((), |()| panic!("first"));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"first"));
    assert_eq!(log.take(), ["last"]);
}

#[test]
fn an_asynchronous_finalizer_outside_any_scope_runs_on_its_own_thread() {
    let (sender, receiver) = mpsc::channel();
    let gate = Gate::default();
    let waits = gate.clone();
    drop(Owned::with_async(7, move |value| async move {
        waits.opened().await;
        let name = std::thread::current().name().map(str::to_owned);
        sender.send((value, name)).unwrap();
    }));
    assert!(receiver.try_recv().is_err());
    gate.unlock();
    let (value, name) = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((value, name.as_deref()), (7, Some("matou-finalizer")));
}

#[test]
fn an_asynchronous_value_dropped_elsewhere_waits_for_its_owner() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned_async("mine", &Gate::open()));
    std::thread::spawn(move || drop(owned)).join().unwrap();
    assert!(log.take().is_empty());
    assert!(block_on(ledger.finalize_all()).leaked.is_empty());
    assert_eq!(log.take(), ["begin", "mine"]);
}

#[test]
fn an_unowned_asynchronous_value_dropped_in_a_task_is_left_to_that_task() {
    let log = Log::default();
    let owned = log.owned_async("adopted", &Gate::open());
    let entered = enter(None);
    drop(owned);
    let ledger = entered.leave().unwrap();
    assert_eq!(block_on(ledger.finalize_all()).finalized.len(), 1);
    assert_eq!(log.take(), ["begin", "adopted"]);
}

#[test]
fn a_shared_value_is_finalized_by_its_last_reference() {
    let log = Log::default();
    let owned = Arc::new(log.owned("last"));
    let other = Arc::clone(&owned);
    drop(owned);
    assert!(log.take().is_empty());
    drop(other);
    assert_eq!(log.take(), ["last"]);
}

#[test]
fn a_value_in_a_thread_local_is_finalized_when_the_thread_ends() {
    use std::cell::RefCell;
    thread_local! {
        static KEPT: RefCell<Option<Owned<&'static str>>> = const { RefCell::new(None) };
    }
    let log = Log::default();
    let (ledger, inner) = (Ledger::new(), log.clone());
    let books = ledger.clone();
    let thread = std::thread::spawn(move || {
        within(&books, || KEPT.with(|kept| *kept.borrow_mut() = Some(inner.owned("kept"))));
    });
    thread.join().unwrap();
    assert_eq!(log.take(), ["kept"]);
    assert!(ledger.is_empty());
}
