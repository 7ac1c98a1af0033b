//! Cancellation, and outcomes that it does not lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use matou_ownership::Owned;
use matou_runtime::{MainError, TaskError, call, sleep, spawn, try_call, try_spawn, yield_now};

use super::{check, endless};

/// Miou erases the result of a task that is cancelled after it has returned. In matou `cancel`
/// returns the value (R6).
#[test]
fn cancel_returns_the_value_of_a_complete_task() {
    check(1, || async {
        let child = spawn(async { 7 });
        yield_now().await;
        yield_now().await;
        assert!(matches!(child.cancel().await, Some(Ok(7))));
        Ok::<_, MainError>(())
    });
}

/// A task that is cancelled before its first poll never runs, on its own domain or on another one.
#[test]
fn a_task_cancelled_before_its_first_poll_never_runs() {
    for away in [false, true] {
        let (mut completed, mut cancelled) = (0, 0);
        for trial in super::trials(3, 100, move || async move {
            let ran = Arc::new(AtomicI32::new(0));
            let count = Arc::clone(&ran);
            let body = move || async move {
                count.fetch_add(1, Ordering::Relaxed);
                7
            };
            let child = if away { call(body)? } else { spawn(body()) };
            let value = child.cancel().await;
            Ok((value, ran.load(Ordering::Relaxed)))
        }) {
            match trial.outcome.unwrap() {
                (Some(Ok(7)), 1) => completed += 1,
                (None, 0) => cancelled += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(cancelled > 0, "{completed} ran, {cancelled} did not");
        assert!(away || completed == 0, "the cancel request comes before the first poll");
    }
}

#[test]
fn cancelling_a_task_on_another_domain_cancels_its_children() {
    check(3, || async {
        let task = call(|| async {
            let (first, second) = (spawn(endless()), spawn(endless()));
            let _ = first.await;
            let _ = second.await;
        })?;
        assert!(task.cancel().await.is_none());
        Ok::<_, MainError>(())
    });
}

/// With one other domain, which has only the endless task to poll.
#[test]
fn an_endless_task_on_the_only_other_domain_is_cancelled() {
    check(2, || async {
        let task = call(endless)?;
        sleep(std::time::Duration::from_millis(1)).await;
        assert!(task.cancel().await.is_none());
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_failed_task_cancels_its_children_on_other_domains() {
    check(3, || async {
        let task = try_call(|| async {
            let _child = call(endless).expect("there is another domain");
            Err::<(), _>("foo")
        })?;
        assert!(matches!(task.await, Err(TaskError::Failed { error: "foo", .. })));
        Ok::<_, MainError>(())
    });
}

/// Miou uses `Fun.protect`; here a guard and a finalizer do the same.
#[test]
fn cancel_returns_after_the_finalizers() {
    check(2, || async {
        let begun = Arc::new(AtomicI32::new(0));
        let count = Arc::clone(&begun);
        let task = call(move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            let _guard = Owned::new(count, |count| {
                count.fetch_sub(1, Ordering::Relaxed);
            });
            endless().await;
        })?;
        sleep(std::time::Duration::from_millis(1)).await;
        task.cancel().await;
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        Ok::<_, MainError>(())
    });
}

/// The failure of one task does not hide the outcomes of its siblings.
#[test]
fn await_all_awaits_all_tasks_although_one_fails() {
    check(1, || async {
        let good = try_spawn(async { Ok::<_, &str>(1) });
        let bad = try_spawn(async { Err::<i32, _>("bad") });
        let outcomes = matou_runtime::await_all([bad, good]).await;
        assert!(matches!(outcomes[..], [Err(TaskError::Failed { error: "bad", .. }), Ok(1)]));
        Ok::<_, MainError>(())
    });
}
