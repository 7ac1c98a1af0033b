//! The ownership scenarios O1 to O10 of docs/scenarios.md. O4 across threads is in `threads`, O10
//! in `memory`, and O9 is also a `compile_fail` example of `Owned`.

use std::fs::File;
use std::future::poll_fn;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use futures::executor::block_on;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, check, disown, give, in_task, own, release, scope, transfer,
};

use crate::support::{Gate, Log, Probe, finalize, panic_of, poll_once, run_scope, within};

#[test]
fn o1_a_task_that_returns_with_an_owned_resource_leaks_it() {
    let (outcome, events) = run_scope(|log| async move { log.leak("once") });
    let error = outcome.unwrap_err();
    assert_eq!(events, ["once"]);
    assert_eq!(error.leaked()[0].resource.made_at.file(), file!());
    assert!(error.to_string().contains("`transfer`"), "{error}");
}

#[test]
fn o1_a_value_in_a_static_is_finalized_and_reported() {
    static VALUE: OnceLock<Owned<&'static str>> = OnceLock::new();
    let (outcome, events) = run_scope(|log| async move {
        assert!(VALUE.set(log.owned("static")).is_ok());
    });
    let value = VALUE.get().unwrap();
    assert_eq!(outcome.unwrap_err().leaked()[0].resource, value.info());
    assert_eq!(events, ["static"]);
    assert!(value.get().is_err());
}

#[test]
fn o1_a_value_in_a_cycle_is_finalized_and_reported() {
    struct Node {
        next: Mutex<Option<Arc<Node>>>,
        _owned: Owned<&'static str>,
    }
    let (outcome, events) = run_scope(|log| async move {
        let node = Arc::new(Node { next: Mutex::new(None), _owned: log.owned("cycle") });
        *node.next.lock().unwrap() = Some(Arc::clone(&node));
        Arc::downgrade(&node)
    });
    assert_eq!(outcome.unwrap_err().leaked().len(), 1);
    assert_eq!(events, ["cycle"]);
}

#[test]
fn o2_a_task_that_panics_finalizes_once_after_its_future_is_dropped() {
    struct LogDrop(Log);
    impl Drop for LogDrop {
        fn drop(&mut self) {
            self.0.add("future dropped");
        }
    }
    let log = Log::default();
    let task_log = log.clone();
    let task = scope(async move {
        let _log_drop = LogDrop(task_log.clone());
        task_log.leak("finalized");
        panic!("task");
    });
    assert_eq!(panic_of(|| block_on(task)), "task");
    assert_eq!(log.take(), ["future dropped", "finalized"]);
}

#[test]
fn o2_a_task_that_is_cancelled_finalizes_once_newest_first() {
    let log = Log::default();
    let task_log = log.clone();
    let mut task = scope(async move {
        let local = task_log.owned("dropped with the future");
        task_log.leak("older");
        task_log.leak("newer");
        Gate::default().opened().await;
        drop(local);
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    assert_eq!(log.take(), ["dropped with the future", "newer", "older"]);
}

#[test]
fn o3_disown_then_end_finalizes_nothing() {
    let ledger = Ledger::new();
    let probe = Probe::owned_by(&ledger);
    within(&ledger, || disown(&probe)).unwrap();
    assert_eq!(finalize(&ledger).finalized, []);
    assert_eq!(probe.finalized(), 0);
}

#[test]
fn o3_release_then_cancel_finalizes_once() {
    let ledger = Ledger::new();
    let probe = Probe::owned_by(&ledger);
    within(&ledger, || release(&probe));
    drop(ledger.finalize_all());
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn o4_a_task_that_uses_a_shared_resource_of_another_task_ends() {
    let (outcome, events) = run_scope(|log| async move {
        let owned = Arc::new(log.owned("value"));
        let shared = Arc::clone(&owned);
        let error = scope(async move {
            assert!(shared.get().is_err());
            log.add("before");
            // The scope finds the error after this poll, and does not poll the future again.
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })
            .await;
            log.add("after");
        })
        .await
        .unwrap_err();
        assert_eq!(error.not_owner().unwrap().resource, owned.info());
        assert!(error.leaked().is_empty());
        assert_eq!(*owned.get().unwrap(), "value", "the error has no effect on the resource");
    });
    outcome.unwrap();
    assert_eq!(events, ["before", "value"]);
}

#[test]
fn o6_a_finalizer_that_panics_is_reported_and_the_others_run() {
    let (outcome, events) = run_scope(|log| async move {
        log.leak("older");
        mem::forget(Owned::new((), |()| panic!("finalizer")));
        log.leak("newer");
    });
    let error = outcome.unwrap_err();
    assert_eq!(events, ["newer", "older"]);
    assert_eq!(error.panicked()[0].1, "finalizer");
    assert!(error.to_string().contains("panicked: finalizer"), "{error}");
}

#[test]
fn o7_a_finalizer_cannot_change_owners() {
    type Operation = fn(&Owned<()>);
    let operations: [(&str, Operation); 5] = [
        ("own", |_| drop(Owned::new((), drop))),
        ("own", |owned| own(&owned.resource())),
        ("disown", |owned| drop(disown(owned))),
        ("transfer", |owned| drop(transfer(owned))),
        ("give", |owned| drop(give(owned, &Ledger::new()))),
    ];
    for (name, operation) in operations {
        let ledger = Ledger::new();
        within(&ledger, || {
            let other = Owned::new((), drop);
            mem::forget(Owned::new(other, move |other| operation(&other)));
        });
        let report = finalize(&ledger);
        let text = &report.panicked[0].1;
        assert!(text.contains(&format!("a finalizer cannot {name} a resource")), "{text}");
        assert!(text.contains(file!()), "{text}");

        // The same applies to a finalizer that a drop outside any task runs.
        let dropped = Owned::new(Owned::new((), drop), move |other| operation(&other));
        assert!(panic_of(|| drop(dropped)).contains(name));
        assert!(!in_task());
    }
}

#[test]
fn o7_a_finalizer_can_use_the_resources_of_its_task() {
    let ledger = Ledger::new();
    let probe = Arc::new(Probe::owned_by(&ledger));
    let used = probe.clone();
    within(&ledger, || drop(Owned::new((), move |()| check(&used).unwrap())));
    assert!(ledger.take_not_owner().is_none());
}

#[test]
fn o9_a_descriptor_is_closed_once_by_the_owner_of_the_value() {
    let owned = Owned::new(File::open("/dev/null").unwrap(), drop);
    let descriptor = owned.get().unwrap().as_raw_fd();
    let file = owned.into_inner().unwrap();
    // The handle and its finalizer are dropped, and the descriptor is still open.
    assert_eq!(file.as_raw_fd(), descriptor);
    assert!(file.metadata().is_ok());
}
