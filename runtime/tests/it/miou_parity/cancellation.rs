//! Cancellation, and what ends well all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use matou_ownership::Owned;
use matou_runtime::{MainError, TaskError, call, sleep, spawn, try_call, try_spawn, yield_now};

use super::{check, endless};

/// The original erases the result of a task that is cancelled after its end. Here a finished value
/// is not lost (R6): `cancel` hands it out.
#[test]
fn cancel_after_the_end_hands_the_value_out() {
    check(1, || async {
        let child = spawn(async { 7 });
        yield_now().await;
        yield_now().await;
        assert_eq!(child.cancel().await, Some(7));
        Ok::<_, MainError>(())
    });
}

/// A task that is cancelled before it begins never runs, on another domain as on this one.
#[test]
fn cancel_before_the_beginning_is_the_end() {
    for away in [false, true] {
        let (mut ended, mut never) = (0, 0);
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
                (Some(7), 1) => ended += 1,
                (None, 0) => never += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(never > 0, "{ended} ran, {never} never did");
        assert!(away || ended == 0, "the request comes before its first poll");
    }
}

#[test]
fn cancelling_a_parallel_task_cancels_its_children() {
    check(3, || async {
        let task = call(|| async {
            let (first, second) = (spawn(endless()), spawn(endless()));
            let _ = first.await;
            let _ = second.await;
        })?;
        assert_eq!(task.cancel().await, None);
        Ok::<_, MainError>(())
    });
}

/// With one other domain, too, which has nothing but the endless task to do.
#[test]
fn an_endless_task_on_the_only_other_domain_is_cancelled() {
    check(2, || async {
        let task = call(endless)?;
        sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(task.cancel().await, None);
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
        assert!(matches!(task.await, Err(TaskError::Failed("foo"))));
        Ok::<_, MainError>(())
    });
}

/// What the original does with `Fun.protect` does a guard here, and a finalizer.
#[test]
fn a_cancelled_task_is_finalized_before_cancel_returns() {
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

/// An `Err` that nobody expected does not hide what the siblings did.
#[test]
fn all_are_awaited_whether_or_not_one_fails() {
    check(1, || async {
        let good = try_spawn(async { Ok::<_, &str>(1) });
        let bad = try_spawn(async { Err::<i32, _>("bad") });
        let outcomes = matou_runtime::await_all([bad, good]).await;
        assert!(matches!(outcomes[..], [Err(TaskError::Failed("bad")), Ok(1)]));
        Ok::<_, MainError>(())
    });
}
