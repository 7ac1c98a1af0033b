//! Does a scope treat its future like a runtime treats a task, under any executor?

use std::error::Error;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use async_executor::{Executor, LocalExecutor};
use futures::executor::block_on;
use futures::future::join_all;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, adopt, check, disown, in_task, scope, transfer,
};

use crate::support::{Gate, Log, created_here, finalize, panic_of, poll_once, run_scope, within};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Yields to other tasks once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Creates a value that another task owns.
fn foreign_value() -> Arc<Owned<()>> {
    within(&Ledger::new(), || Arc::new(Owned::new((), drop)))
}

#[test]
fn a_task_that_keeps_the_rules_returns_its_value() {
    let value = block_on(scope(async {
        assert!(in_task());
        let owned = Owned::new(40, drop);
        yield_now().await;
        let value = *owned.get().unwrap();
        value + 2
    }));
    assert_eq!(value.unwrap(), 42);
    assert!(!in_task());
}

#[test]
fn scopes_on_one_thread_are_separate() {
    let executor = LocalExecutor::new();
    let log = Log::default();
    let tasks = (0..10).map(|_| {
        let log = log.clone();
        executor.spawn(scope(async move {
            let owned = log.owned("dropped");
            for _ in 0..10 {
                yield_now().await;
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
fn scopes_can_move_between_the_threads_of_an_executor() {
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
                    let asynchronous = log.owned_async("async", &Gate::new_open());
                    for _ in 0..20 {
                        yield_now().await;
                        check(&owned).unwrap();
                    }
                    if index % 2 == 0 {
                        mem::forget(owned);
                    }
                    drop(asynchronous);
                }))
            })
            .collect();
        let outcomes = block_on(join_all(tasks));
        stop.open();
        let leaked: usize = outcomes
            .into_iter()
            .map(|outcome| outcome.map_or_else(|error| error.leaked().len(), |()| 0))
            .sum();
        assert_eq!(leaked, 100);
    });
    assert_eq!((log.count("sync"), log.count("async")), (200, 200));
}

#[test]
fn a_scope_waits_for_an_asynchronous_finalizer_under_a_local_executor() {
    let (executor, log, gate) = (LocalExecutor::new(), Log::default(), Gate::default());
    let (task_log, task_gate) = (log.clone(), gate.clone());
    let task = executor.spawn(scope(async move {
        task_log.leak("oldest");
        task_log.leak_async("middle", &task_gate);
        task_log.leak("newest");
    }));
    // The finalizer waits for another task of the same executor.
    let opener = executor.spawn(async move { gate.open() });
    let error = block_on(executor.run(async { (task.await, opener.await) })).0.unwrap_err();
    assert_eq!(log.take(), ["newest", "begin", "middle", "oldest"]);
    assert_eq!(error.leaked().len(), 3);
}

#[test]
fn an_inner_scope_transfers_to_the_enclosing_scope() {
    let (outcome, events) = run_scope(|log| async move {
        let inner = scope(async {
            let owned = log.owned("transferred");
            transfer(&owned).unwrap();
            owned
        });
        let owned = inner.await.unwrap();
        assert!(owned.get().is_ok());
        mem::forget(owned);
    });
    assert_eq!(outcome.unwrap_err().leaked().len(), 1, "the outer scope leaked it");
    assert_eq!(events, ["transferred"]);
}

#[test]
fn a_value_transferred_by_the_outermost_scope_is_unowned() {
    let (outcome, events) = run_scope(|log| async move {
        let owned = log.owned("transferred");
        transfer(&owned).unwrap();
        owned
    });
    let owned = outcome.unwrap();
    assert!(events.is_empty());
    assert_eq!(*owned.get().unwrap(), "transferred");
    within(&Ledger::new(), || check(&owned)).unwrap();
}

#[test]
fn a_transferred_value_is_delivered_after_an_abnormal_end_too() {
    for how in ["panic", "drop", "not owner"] {
        let (log, outer, foreign) = (Log::default(), Ledger::new(), foreign_value());
        let task_log = log.clone();
        let mut inner = scope(async move {
            let owned = task_log.owned("transferred");
            transfer(&owned).unwrap();
            mem::forget(owned);
            match how {
                "panic" => panic!("inner"),
                "not owner" => assert!(check(&foreign).is_err()),
                _ => {}
            }
            Gate::default().opened().await;
        });
        within(&outer, || {
            let polled = catch_unwind(AssertUnwindSafe(|| poll_once(&mut inner)));
            match (how, polled) {
                ("panic", Err(_)) | ("drop", Ok(Poll::Pending)) => {}
                ("not owner", Ok(Poll::Ready(Err(error)))) => assert!(error.not_owner().is_some()),
                (how, other) => panic!("{how}: {other:?}"),
            }
            drop(inner);
        });
        assert_eq!((outer.len(), log.count("transferred")), (1, 0), "{how}");
        finalize(&outer);
        assert_eq!(log.count("transferred"), 1, "{how}");
    }
}

#[test]
fn a_not_owner_error_in_the_last_poll_discards_the_value() {
    let foreign = foreign_value();
    let used = Arc::clone(&foreign);
    let (outcome, events) = run_scope(|log| async move {
        let _ = check(&used);
        log.owned("value")
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.not_owner().unwrap().resource, foreign.info());
    assert!(Error::source(&error).is_some());
    assert_eq!(events, ["value"]);
}

#[test]
fn a_returned_value_that_is_not_transferred_is_leaked() {
    let (outcome, events) = run_scope(|log| async move { log.owned("returned") });
    assert_eq!(outcome.unwrap_err().leaked().len(), 1);
    assert_eq!(events, ["returned"]);
}

#[test]
fn a_value_sent_through_a_channel_is_disowned_and_adopted() {
    let executor = LocalExecutor::new();
    let (sender, receiver) = mpsc::channel();
    let sending = executor.spawn(scope(async move {
        let owned = Owned::new(7, drop);
        disown(&owned).unwrap();
        sender.send(owned).unwrap();
    }));
    let receiving = executor.spawn(scope(async move {
        loop {
            if let Ok(owned) = receiver.try_recv() {
                return *owned.get().unwrap();
            }
            yield_now().await;
        }
    }));
    let (sent, received) = block_on(executor.run(async { (sending.await, receiving.await) }));
    sent.unwrap();
    assert_eq!(received.unwrap(), 7);
}

#[test]
fn a_moved_handle_is_adopted() {
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
fn a_scope_dropped_before_its_first_poll_drops_its_captures() {
    let log = Log::default();
    let owned = log.owned("captured");
    drop(scope(async move { owned.get().is_ok() }));
    assert_eq!(log.take(), ["captured"]);
}

#[test]
fn a_future_whose_drop_panics_has_its_resources_finalized() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let log = Log::default();
    let task_log = log.clone();
    let mut task = scope(async move {
        let _panics = PanicOnDrop;
        task_log.leak("finalized");
        Gate::default().opened().await;
    });
    assert!(poll_once(&mut task).is_pending());
    assert_eq!(panic_of(|| drop(task)), "dropped");
    assert_eq!(log.take(), ["finalized"]);
}

#[test]
fn the_asynchronous_finalizers_of_a_dropped_scope_run_on_another_thread() {
    let (log, gate) = (Log::default(), Gate::default());
    let (sender, receiver) = mpsc::channel();
    let (task_log, task_gate) = (log.clone(), gate.clone());
    let mut task = scope(async move {
        mem::forget(Owned::new(sender, |sender| sender.send("oldest").unwrap()));
        task_log.leak_async("middle", &task_gate);
        task_log.leak("newest");
        Gate::default().opened().await;
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    assert_eq!(log.take()[0], "newest", "it runs before the drop returns");
    gate.open();
    assert_eq!(receiver.recv_timeout(TIMEOUT), Ok("oldest"));
    assert_eq!(log.count("middle"), 1);
}

#[test]
fn a_scope_dropped_while_it_finalizes_continues_on_another_thread() {
    let (log, gate) = (Log::default(), Gate::default());
    let (sender, receiver) = mpsc::channel();
    let (task_log, task_gate) = (log.clone(), gate.clone());
    let mut task = scope(async move {
        mem::forget(Owned::new(sender, |sender| sender.send(()).unwrap()));
        task_log.leak_async("slow", &task_gate);
    });
    assert!(poll_once(&mut task).is_pending());
    drop(task);
    gate.open();
    receiver.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(log.count("slow"), 1);
}

#[test]
fn a_transferred_value_is_delivered_after_asynchronous_finalizers() {
    for is_dropped in [false, true] {
        let (log, gate, outer) = (Log::default(), Gate::default(), Ledger::new());
        let (task_log, task_gate) = (log.clone(), gate.clone());
        let mut inner = scope(async move {
            drop(task_log.owned_async("slow", &task_gate));
            let owned = task_log.owned("transferred");
            transfer(&owned).unwrap();
            owned
        });
        within(&outer, || assert!(poll_once(&mut inner).is_pending()));
        assert!(outer.is_empty(), "it is in transit until the inner scope has ended");
        gate.open();
        if is_dropped {
            // The scope contains the value, so dropping the scope releases it.
            within(&outer, || drop(inner));
            assert_eq!((outer.len(), log.count("transferred")), (0, 1));
        } else {
            let owned = block_on(poll_fn(|cx| within(&outer, || Pin::new(&mut inner).poll(cx))));
            assert_eq!((outer.len(), log.count("transferred")), (1, 0));
            drop(owned);
        }
    }
}

#[test]
fn a_transferred_value_is_delivered_if_the_scope_is_dropped_while_it_finalizes() {
    let (log, gate, outer) = (Log::default(), Gate::default(), Ledger::new());
    let (task_log, task_gate) = (log.clone(), gate.clone());
    let mut inner = scope(async move {
        drop(task_log.owned_async("slow", &task_gate));
        let owned = task_log.owned("transferred");
        transfer(&owned).unwrap();
        mem::forget(owned);
    });
    within(&outer, || {
        assert!(poll_once(&mut inner).is_pending());
        drop(inner);
    });
    assert_eq!((outer.len(), log.count("transferred")), (1, 0));
    gate.open();
    finalize(&outer);
    assert_eq!(log.count("transferred"), 1);
}

#[test]
fn polling_a_completed_scope_panics() {
    let mut task = scope(async {});
    assert!(poll_once(&mut task).is_ready());
    assert!(panic_of(|| poll_once(&mut task).is_ready()).contains(&created_here(file!())));
}

#[test]
fn errors_name_the_scope_that_owns_the_resource() {
    let line = line!() + 1;
    let outcome = block_on(scope(async {
        let owned = Arc::new(Owned::new(1, drop));
        let shared = Arc::clone(&owned);
        let inner = scope(async move { check(&shared).is_err() }).await;
        inner.unwrap_err().not_owner().unwrap().owner.clone().unwrap()
    }));
    let owner = outcome.unwrap();
    assert_eq!((owner.made_at.file(), owner.made_at.line()), (file!(), line));
    assert_eq!(owner.name.as_deref(), Some("scope"));
}

#[test]
fn a_handle_and_its_resource_have_the_same_ticket() {
    let owned = Arc::new(Owned::new(1, drop));
    assert_eq!(owned.resource().ticket().id(), ResourceHandle::ticket(&*owned).id());
}
