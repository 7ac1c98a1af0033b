//! Does a scope do under any executor what a runtime does for its tasks?

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use async_executor::{Executor, LocalExecutor};
use futures::executor::block_on;
use futures::future::{join_all, poll_fn};
use matou_ownership::{
    Ledger, Owned, ResourceHandle, adopt, check, disown, in_task, scope, transfer,
};

use crate::doubles::{Gate, Log, message, poll_once, within};

/// Lets others run once.
async fn step() {
    let mut stepped = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn a_task_that_keeps_the_rules_yields_its_value() {
    let value = block_on(scope(async {
        assert!(in_task());
        let owned = Owned::new(40, drop);
        step().await;
        let value = *owned.get().unwrap();
        value + 2
    }));
    assert_eq!(value.unwrap(), 42);
    assert!(!in_task());
}

#[test]
fn two_scopes_on_one_thread_do_not_mix() {
    let executor = LocalExecutor::new();
    let log = Log::default();
    let tasks = (0..10).map(|_| {
        let log = log.clone();
        executor.spawn(scope(async move {
            let owned = log.owned("dropped");
            for _ in 0..10 {
                step().await;
                assert!(owned.get().is_ok());
            }
        }))
    });
    let tasks: Vec<_> = tasks.collect();
    for outcome in block_on(executor.run(join_all(tasks))) {
        outcome.unwrap();
    }
    assert_eq!(log.count("dropped"), 10);
}

#[test]
fn scopes_move_between_the_threads_of_an_executor() {
    let (executor, log) = (Executor::new(), Log::default());
    let stop = Gate::default();
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| block_on(executor.run(stop.opened())));
        }
        let tasks: Vec<_> = (0..200)
            .map(|index| {
                let log = log.clone();
                executor.spawn(scope(async move {
                    let owned = log.owned("sync");
                    let asynchronous = log.owned_async("async", &Gate::open());
                    for _ in 0..20 {
                        step().await;
                        check(&owned).unwrap();
                    }
                    if index % 2 == 0 {
                        std::mem::forget(owned);
                    }
                    drop(asynchronous);
                }))
            })
            .collect();
        let outcomes = block_on(join_all(tasks));
        stop.unlock();
        let leaked: usize = outcomes
            .into_iter()
            .map(|outcome| outcome.map_or_else(|error| error.leaked().len(), |()| 0))
            .sum();
        assert_eq!(leaked, 100);
    });
    assert_eq!((log.count("sync"), log.count("async")), (200, 200));
}

#[test]
fn an_asynchronous_finalizer_is_awaited_under_a_local_executor() {
    let (executor, log, gate) = (LocalExecutor::new(), Log::default(), Gate::default());
    let (made, waits) = (log.clone(), gate.clone());
    let task = executor.spawn(scope(async move {
        std::mem::forget(made.owned("oldest"));
        std::mem::forget(made.owned_async("middle", &waits));
        std::mem::forget(made.owned("newest"));
    }));
    // The finalizer waits for something that this very executor has to do.
    let opener = executor.spawn(async move { gate.unlock() });
    let error = block_on(executor.run(async { (task.await, opener.await) })).0.unwrap_err();
    assert_eq!(log.take(), ["newest", "begin", "middle", "oldest"]);
    assert_eq!(error.leaked().len(), 3);
}

#[test]
fn the_inner_scope_transfers_to_the_outer_one() {
    let log = Log::default();
    let made = log.clone();
    let error = block_on(scope(async move {
        let inner = scope(async {
            let owned = made.owned("passed up");
            transfer(&owned).unwrap();
            owned
        });
        let owned = inner.await.unwrap();
        assert!(owned.get().is_ok());
        std::mem::forget(owned);
    }))
    .unwrap_err();
    assert_eq!(error.leaked().len(), 1, "it is the outer one that leaked it");
    assert_eq!(log.take(), ["passed up"]);
}

#[test]
fn what_the_outermost_scope_transfers_is_unowned() {
    let log = Log::default();
    let made = log.clone();
    let owned = block_on(scope(async move {
        let owned = made.owned("kept");
        transfer(&owned).unwrap();
        owned
    }))
    .unwrap();
    assert!(log.take().is_empty());
    assert_eq!(*owned.get().unwrap(), "kept");
    within(&Ledger::new(), || check(&owned)).unwrap();
}

#[test]
fn what_was_transferred_is_delivered_after_an_abnormal_end_too() {
    for how in ["panic", "drop", "fault"] {
        let log = Log::default();
        let (made, never) = (log.clone(), Gate::default());
        let outer = Ledger::new();
        let foreign = within(&Ledger::new(), || Arc::new(Owned::new((), drop)));
        let mut inner = scope(async move {
            let owned = made.owned("passed up");
            transfer(&owned).unwrap();
            std::mem::forget(owned);
            match how {
                "panic" => panic!("inner"),
                "fault" => assert!(check(&foreign).is_err()),
                _ => {}
            }
            never.opened().await;
        });
        within(&outer, || {
            let polled = catch_unwind(AssertUnwindSafe(|| poll_once(&mut inner)));
            match (how, polled) {
                ("panic", Err(_)) | ("drop", Ok(Poll::Pending)) => {}
                ("fault", Ok(Poll::Ready(Err(error)))) => assert!(error.not_owner().is_some()),
                (how, other) => panic!("{how}: {other:?}"),
            }
            drop(inner);
        });
        assert_eq!((outer.len(), log.count("passed up")), (1, 0), "{how}");
        drop(block_on(outer.finalize_all()));
        assert_eq!(log.count("passed up"), 1, "{how}");
    }
}

#[test]
fn a_fault_in_the_last_poll_takes_the_value_away() {
    let foreign = within(&Ledger::new(), || Arc::new(Owned::new((), drop)));
    let used = Arc::clone(&foreign);
    let log = Log::default();
    let made = log.clone();
    let error = block_on(scope(async move {
        let _ = check(&used);
        made.owned("the value")
    }))
    .unwrap_err();
    assert_eq!(error.not_owner().unwrap().resource, foreign.info());
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(log.take(), ["the value"]);
}

#[test]
fn a_value_that_was_not_transferred_is_a_leak_and_comes_finalized() {
    let log = Log::default();
    let made = log.clone();
    let error = block_on(scope(async move { made.owned("returned") })).unwrap_err();
    assert_eq!((error.leaked().len(), log.count("returned")), (1, 1));
}

#[test]
fn sideways_through_a_queue_it_is_disowned_and_adopted() {
    let executor = LocalExecutor::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let giver = executor.spawn(scope(async move {
        let owned = Owned::new(7, drop);
        disown(&owned).unwrap();
        sender.send(owned).unwrap();
    }));
    let taker = executor.spawn(scope(async move {
        loop {
            if let Ok(owned) = receiver.try_recv() {
                return *owned.get().unwrap();
            }
            step().await;
        }
    }));
    let (giver, taker) = block_on(executor.run(async { (giver.await, taker.await) }));
    giver.unwrap();
    assert_eq!(taker.unwrap(), 7);
}

#[test]
fn a_moved_handle_needs_no_word() {
    let executor = LocalExecutor::new();
    let outer = scope(async {
        let owned = Owned::new(7, drop);
        let child = executor.spawn(scope(async move {
            adopt(&owned).unwrap();
            *owned.get().unwrap()
        }));
        child.await.unwrap()
    });
    assert_eq!(block_on(executor.run(outer)).unwrap(), 7);
}

#[test]
fn a_scope_dropped_before_its_first_poll_does_nothing() {
    let log = Log::default();
    let owned = log.owned("captured");
    drop(scope(async move { owned.get().is_ok() }));
    assert_eq!(log.take(), ["captured"]);
}

#[test]
fn a_future_whose_drop_panics_is_settled_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let log = Log::default();
    let (made, never) = (log.clone(), Gate::default());
    let mut task = scope(async move {
        let _bomb = Bomb;
        std::mem::forget(made.owned("settled"));
        never.opened().await;
    });
    assert!(poll_once(&mut task).is_pending());
    let caught = catch_unwind(AssertUnwindSafe(|| drop(task))).unwrap_err();
    assert_eq!(message(caught), "dropped");
    assert_eq!(log.take(), ["settled"]);
}

#[test]
fn an_abandoned_scope_finishes_its_asynchronous_finalizers_on_their_own() {
    let (log, never, gate) = (Log::default(), Gate::default(), Gate::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let (made, waits) = (log.clone(), gate.clone());
    let mut task = scope(async move {
        std::mem::forget(Owned::new(sender, |sender| sender.send("oldest").unwrap()));
        std::mem::forget(made.owned_async("middle", &waits));
        std::mem::forget(made.owned("newest"));
        never.opened().await;
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    assert_eq!(log.take()[0], "newest", "what can be is done before the drop returns");
    gate.unlock();
    let last = receiver.recv_timeout(std::time::Duration::from_secs(60));
    assert_eq!(last, Ok("oldest"));
    assert_eq!(log.count("middle"), 1);
}

#[test]
fn a_scope_dropped_while_it_settles_goes_on_settling() {
    let (log, gate) = (Log::default(), Gate::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let (made, waits) = (log.clone(), gate.clone());
    let mut task = scope(async move {
        std::mem::forget(Owned::new(sender, |sender| sender.send(()).unwrap()));
        std::mem::forget(made.owned_async("slow", &waits));
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    gate.unlock();
    receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(log.count("slow"), 1);
}

#[test]
fn what_was_transferred_is_delivered_after_asynchronous_finalizers() {
    for dropped in [false, true] {
        let (log, gate, outer) = (Log::default(), Gate::default(), Ledger::new());
        let (made, waits) = (log.clone(), gate.clone());
        let mut inner = scope(async move {
            drop(made.owned_async("slow", &waits));
            let owned = made.owned("passed up");
            transfer(&owned).unwrap();
            owned
        });
        within(&outer, || assert!(poll_once(&mut inner).is_pending()));
        assert!(outer.is_empty(), "it is on its way until the inner scope has ended");
        gate.unlock();
        if dropped {
            // The value is dropped with the scope, and what was in transit is released by that.
            within(&outer, || drop(inner));
            assert_eq!((outer.len(), log.count("passed up")), (0, 1));
        } else {
            let owned =
                block_on(poll_fn(|cx| within(&outer, || std::pin::Pin::new(&mut inner).poll(cx))));
            assert_eq!((outer.len(), log.count("passed up")), (1, 0));
            drop(owned);
        }
    }
}

#[test]
fn what_was_transferred_is_delivered_if_the_scope_is_dropped_while_it_settles() {
    let (log, gate, outer) = (Log::default(), Gate::default(), Ledger::new());
    let (made, waits) = (log.clone(), gate.clone());
    let mut inner = scope(async move {
        drop(made.owned_async("slow", &waits));
        let owned = made.owned("passed up");
        transfer(&owned).unwrap();
        std::mem::forget(owned);
    });
    within(&outer, || {
        assert!(poll_once(&mut inner).is_pending());
        drop(inner);
    });
    assert_eq!((outer.len(), log.count("passed up")), (1, 0));
    gate.unlock();
    drop(block_on(outer.finalize_all()));
    assert_eq!(log.count("passed up"), 1);
}

#[test]
fn a_completed_scope_refuses_to_be_polled() {
    let mut task = scope(async {});
    assert!(poll_once(&mut task).is_ready());
    let caught = catch_unwind(AssertUnwindSafe(|| poll_once(&mut task).is_ready())).unwrap_err();
    assert!(message(caught).contains("after it had completed"));
}

#[test]
fn reports_name_the_scope_that_owns() {
    let line = line!() + 1;
    let outcome = block_on(scope(async {
        let mine = Arc::new(Owned::new(1, drop));
        let theirs = Arc::clone(&mine);
        let inner = scope(async move { check(&theirs).is_err() }).await;
        inner.unwrap_err().not_owner().unwrap().owner.clone().unwrap()
    }));
    let owner = outcome.unwrap();
    assert_eq!((owner.made_at.file(), owner.made_at.line()), (file!(), line));
    assert_eq!(owner.name.as_deref(), Some("scope"));
}

#[test]
fn a_handle_may_be_asked_for_its_resource_anywhere() {
    let owned = Arc::new(Owned::new(1, drop));
    assert_eq!(owned.resource().ticket().id(), ResourceHandle::ticket(&*owned).id());
}
