//! The ownership scenarios O1 to O10 that other systems died of, by name. O4 across threads is in
//! `threads`, O10 in `memory`, O9 is a `compile_fail` example of `Owned`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use futures::executor::block_on;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, check, disown, give, own, release, scope, transfer,
};

use crate::doubles::{Gate, Log, Probe, message, poll_once, within};

#[test]
fn o1_a_task_that_returns_with_an_owned_resource_has_leaked_it() {
    let log = Log::default();
    let made = log.clone();
    let error = block_on(scope(async move {
        let owned = made.owned("once");
        std::mem::forget(owned);
    }))
    .unwrap_err();
    assert_eq!(log.take(), ["once"]);
    assert_eq!(error.leaked()[0].made_at.file(), file!());
    assert!(error.to_string().contains("`transfer`"), "{error}");
}

#[test]
fn o1_a_value_in_a_static_is_finalized_and_named() {
    static KEPT: OnceLock<Owned<&'static str>> = OnceLock::new();
    let log = Log::default();
    let made = log.clone();
    let outcome = block_on(scope(async move {
        assert!(KEPT.set(made.owned("static")).is_ok());
    }));
    assert_eq!(outcome.unwrap_err().leaked(), [KEPT.get().unwrap().info()]);
    assert_eq!(log.take(), ["static"]);
    assert!(KEPT.get().unwrap().get().is_err());
}

#[test]
fn o1_a_value_in_a_cycle_is_finalized_and_named() {
    struct Node {
        next: Mutex<Option<Arc<Node>>>,
        _owned: Owned<&'static str>,
    }
    let log = Log::default();
    let made = log.clone();
    let outcome = block_on(scope(async move {
        let node = Arc::new(Node { next: Mutex::new(None), _owned: made.owned("cycle") });
        *node.next.lock().unwrap() = Some(Arc::clone(&node));
        Arc::downgrade(&node)
    }));
    assert_eq!(outcome.unwrap_err().leaked().len(), 1);
    assert_eq!(log.take(), ["cycle"]);
}

#[test]
fn o2_a_task_that_panics_finalizes_once_after_its_future_is_dropped() {
    struct Note(Log);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.add("future dropped");
        }
    }
    let log = Log::default();
    let made = log.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        block_on(scope(async move {
            let _note = Note(made.clone());
            std::mem::forget(made.owned("finalized"));
            panic!("the task");
        }))
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"the task"));
    assert_eq!(log.take(), ["future dropped", "finalized"]);
}

#[test]
fn o2_a_task_that_is_cancelled_finalizes_once_newest_first() {
    let log = Log::default();
    let (made, never) = (log.clone(), Gate::default());
    let mut task = scope(async move {
        let dropped = made.owned("dropped with the future");
        std::mem::forget(made.owned("older"));
        std::mem::forget(made.owned("newer"));
        never.opened().await;
        drop(dropped);
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    assert_eq!(log.take(), ["dropped with the future", "newer", "older"]);
}

#[test]
fn o3_disown_then_end_finalizes_nothing() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    within(&ledger, || {
        own(&probe.resource());
        disown(&probe).unwrap();
    });
    assert_eq!(block_on(ledger.finalize_all()).finalized, []);
    assert_eq!(probe.finalized(), 0);
}

#[test]
fn o3_release_then_cancel_finalizes_once() {
    let (probe, ledger) = (Probe::new(), Ledger::new());
    within(&ledger, || own(&probe.resource()));
    within(&ledger, || release(&probe));
    drop(ledger.finalize_all());
    assert_eq!(probe.finalized(), 1);
}

#[test]
fn o4_a_task_that_shares_what_it_was_not_given_is_ended() {
    let log = Log::default();
    let (made, polled) = (log.clone(), log.clone());
    let outcome = block_on(scope(async move {
        let mine = Arc::new(made.owned("mine"));
        let shared = Arc::clone(&mine);
        let error = scope(async move {
            assert!(shared.get().is_err());
            polled.add("before");
            // The fault is found when the future is suspended; it never goes on from here.
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
            .await;
            polled.add("after");
        })
        .await
        .unwrap_err();
        assert_eq!(error.not_owner().unwrap().resource, mine.info());
        assert!(error.leaked().is_empty());
        assert_eq!(*mine.get().unwrap(), "mine", "nothing is touched");
    }));
    outcome.unwrap();
    assert_eq!(log.take(), ["before", "mine"]);
}

#[test]
fn o6_a_finalizer_that_panics_stops_no_other_and_is_reported() {
    let log = Log::default();
    let made = log.clone();
    let error = block_on(scope(async move {
        std::mem::forget(made.owned("older"));
        std::mem::forget(Owned::new((), |()| panic!("finalizer")));
        std::mem::forget(made.owned("newer"));
    }))
    .unwrap_err();
    assert_eq!(log.take(), ["newer", "older"]);
    assert_eq!(error.panicked()[0].1, "finalizer");
    assert!(error.to_string().contains("panicked: finalizer"), "{error}");
}

#[test]
fn o7_a_finalizer_may_not_say_who_owns_what() {
    type Verb = fn(&Owned<()>);
    let verbs: [(&str, Verb); 5] = [
        ("own", |_| drop(Owned::new((), drop))),
        ("own", |owned| own(&owned.resource())),
        ("disown", |owned| drop(disown(owned))),
        ("transfer", |owned| drop(transfer(owned))),
        ("give", |owned| drop(give(owned, &Ledger::new()))),
    ];
    for (name, verb) in verbs {
        let ledger = Ledger::new();
        within(&ledger, || {
            let other = Owned::new((), drop);
            std::mem::forget(Owned::new(other, move |other| verb(&other)));
        });
        let settled = block_on(ledger.finalize_all());
        let text = &settled.panicked[0].1;
        assert!(text.contains(&format!("a finalizer cannot {name} a resource")), "{text}");
        assert!(text.contains(file!()), "{text}");

        // The same in a finalizer that a drop runs, inside a task and outside.
        let dropped = Owned::new(Owned::new((), drop), move |other| verb(&other));
        let caught = catch_unwind(AssertUnwindSafe(|| drop(dropped))).unwrap_err();
        assert!(message(caught).contains(name));
        assert!(!matou_ownership::in_task());
    }
}

#[test]
fn o7_a_finalizer_may_use_what_its_task_owns() {
    let (ledger, probe) = (Ledger::new(), Arc::new(Probe::new()));
    let used = probe.clone();
    within(&ledger, || {
        own(&probe.resource());
        drop(Owned::new((), move |()| check(&used).unwrap()));
    });
    assert!(ledger.take_not_owner().is_none());
}

#[test]
fn o9_a_descriptor_is_closed_once_by_whoever_has_the_value() {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    let owned = Owned::new(File::open("/dev/null").unwrap(), drop);
    let number = owned.get().unwrap().as_raw_fd();
    let file = owned.into_inner().unwrap();
    // The handle is gone, its finalizer with it, and the descriptor is open.
    assert_eq!(file.as_raw_fd(), number);
    assert!(file.metadata().is_ok());
}
