//! Does an `Owned` protect its value, and finalize it exactly once?

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use matou_ownership::{Ledger, Owned, OwnedError, ResourceHandle, enter, own};

use crate::support::{Gate, Log, finalize, panic_of, within};

#[test]
fn get_reads_and_get_mut_writes_the_value() {
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
fn get_requires_the_owner_and_get_mut_makes_the_task_the_owner() {
    let (first, second) = (Ledger::new(), Ledger::new());
    let mut owned = within(&first, || Owned::new(1, drop));
    within(&second, || assert!(matches!(owned.get(), Err(OwnedError::NotOwner(_)))));
    assert!(second.take_not_owner().is_some());
    within(&second, || *owned.get_mut().unwrap() = 2);
    assert_eq!((first.len(), second.len()), (0, 1));
    within(&second, || assert_eq!(*owned.get().unwrap(), 2));
}

#[test]
fn into_inner_returns_the_value_and_drops_the_finalizer() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned("never"));
    assert_eq!(owned.into_inner().unwrap(), "never");
    assert!(ledger.is_empty());
    assert_eq!(finalize(&ledger).finalized, []);
    assert!(log.take().is_empty());
}

#[test]
fn into_inner_after_the_owners_end_is_an_error() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned("once"));
    finalize(&ledger);
    assert!(matches!(owned.into_inner(), Err(OwnedError::Finalized(_))));
    assert_eq!(log.take(), ["once"]);
}

#[test]
fn into_inner_with_a_leaked_guard_is_an_error_and_no_panic() {
    let owned = Owned::new(1, drop);
    mem::forget(owned.get().unwrap());
    assert!(matches!(owned.into_inner(), Err(OwnedError::Borrowed(_))));
}

#[test]
fn a_panic_while_borrowed_does_not_prevent_the_finalizer() {
    let log = Log::default();
    let owned = log.owned("once");
    let message = panic_of(|| {
        let _guard = owned.get().unwrap();
        panic!("while borrowed");
    });
    assert_eq!(message, "while borrowed");
    assert_eq!(*owned.get().unwrap(), "once");
    drop(owned);
    assert_eq!(log.take(), ["once"]);
}

#[test]
fn dropping_runs_a_synchronous_finalizer_at_once() {
    let (ledger, log) = (Ledger::new(), Log::default());
    drop(log.owned("outside"));
    within(&ledger, || {
        drop(log.owned("inside"));
        assert_eq!(log.take(), ["outside", "inside"]);
    });
    let owned = within(&ledger, || log.owned("on another thread"));
    thread::spawn(move || drop(owned)).join().unwrap();
    assert_eq!(log.take(), ["on another thread"]);
    assert!(ledger.is_empty());
}

#[test]
fn dropping_the_handle_with_a_leaked_guard_panics() {
    let log = Log::default();
    let owned = log.owned("never");
    mem::forget(owned.get().unwrap());
    assert!(panic_of(|| drop(owned)).contains("is borrowed"));
    assert!(log.take().is_empty());
}

#[test]
fn a_panic_of_the_finalizer_leaves_the_drop_once() {
    let owned = Owned::new((), |()| panic!("loud"));
    assert_eq!(panic_of(|| drop(owned)), "loud");
    // The thread is not marked as running a finalizer any more.
    own(&Owned::new(1, drop).resource());
}

#[test]
fn two_panicking_finalizers_in_one_block_do_not_abort() {
    let log = Log::default();
    let message = panic_of(|| {
        let _last = log.owned("last");
        let _second = Owned::new((), |()| panic!("second"));
        let _first = Owned::new((), |()| panic!("first"));
    });
    assert_eq!(message, "first");
    assert_eq!(log.take(), ["last"]);
}

#[test]
fn an_asynchronous_finalizer_outside_any_task_runs_on_its_own_thread() {
    let (sender, receiver) = mpsc::channel();
    let gate = Gate::default();
    let opened = gate.opened();
    drop(Owned::with_async(7, move |value| async move {
        opened.await;
        let name = thread::current().name().map(str::to_owned);
        sender.send((value, name)).unwrap();
    }));
    assert!(receiver.try_recv().is_err());
    gate.open();
    let (value, name) = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((value, name.as_deref()), (7, Some("matou-finalizer")));
}

#[test]
fn an_asynchronous_value_created_with_a_closed_ledger_is_finalized_when_it_is_dropped() {
    let ledger = Ledger::new();
    finalize(&ledger);
    let (sender, receiver) = mpsc::channel();
    within(&ledger, || {
        let owned = Owned::with_async(7, |value| async move { sender.send(value).unwrap() });
        thread::spawn(move || drop(owned)).join().unwrap();
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(7));
}

#[test]
fn an_asynchronous_value_dropped_on_another_thread_waits_for_its_owner() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned_async("end", &Gate::new_open()));
    thread::spawn(move || drop(owned)).join().unwrap();
    assert!(log.take().is_empty());
    assert!(finalize(&ledger).leaked.is_empty());
    assert_eq!(log.take(), ["begin", "end"]);
}

#[test]
fn an_unowned_asynchronous_value_dropped_in_a_task_is_finalized_at_the_tasks_end() {
    let log = Log::default();
    let owned = log.owned_async("end", &Gate::new_open());
    let entered = enter(None);
    drop(owned);
    let ledger = entered.leave().unwrap();
    assert_eq!(finalize(&ledger).finalized.len(), 1);
    assert_eq!(log.take(), ["begin", "end"]);
}

#[test]
fn a_shared_value_is_finalized_when_its_last_reference_is_dropped() {
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
    thread_local! {
        static VALUE: RefCell<Option<Owned<&'static str>>> = const { RefCell::new(None) };
    }
    let (ledger, log) = (Ledger::new(), Log::default());
    thread::scope(|scope| {
        let (ledger, log) = (&ledger, &log);
        let store =
            move || VALUE.with(|value| *value.borrow_mut() = Some(log.owned("thread-local")));
        // An explicit join also waits for the destructors of thread-locals.
        scope.spawn(move || within(ledger, store)).join().unwrap();
    });
    assert_eq!(log.take(), ["thread-local"]);
    assert!(ledger.is_empty());
}
