//! Children: the order in which they run, and which task awaits them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use matou_runtime::{
    MainError, Promise, Violation, await_first, await_one, call, sleep, spawn, try_spawn, yield_now,
};

use super::{check, trials};
use crate::support::{Log, run_on, violation};

/// A child does not run before its parent suspends.
///
/// On real domains ready tasks run in the order of their wake-ups; in a simulated run the order is
/// random. In both, the parent continues before its child begins.
#[test]
fn a_parent_continues_before_its_child_begins() {
    let log = Log::new();
    let seen = log.clone();
    let result = run_on(1, move || async move {
        let hello = seen.clone();
        let child = spawn(async move { hello.push("hello") });
        seen.push("world");
        child.await?;
        Ok(())
    });
    result.unwrap();
    log.assert_is(&["world", "hello"]);
}

#[test]
fn a_yield_lets_the_child_run_first() {
    let log = Log::new();
    let seen = log.clone();
    let result = run_on(1, move || async move {
        let hello = seen.clone();
        let child = spawn(async move { hello.push("hello") });
        yield_now().await;
        seen.push("world");
        child.await?;
        Ok(())
    });
    result.unwrap();
    log.assert_is(&["hello", "world"]);
}

#[test]
fn a_child_that_is_not_awaited_is_a_violation() {
    for trial in trials(1, 20, || async {
        drop(spawn(async {}));
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::StillHasChildren { .. }), "{violation}");
    }
}

/// Miou returns the same result again and again. In matou an outcome is moved out, so that it need
/// not be `Clone`: awaiting consumes the promise, and a second await through `Pin` panics.
#[test]
fn a_promise_is_awaited_once() {
    check(1, || async {
        let twice = spawn(async {
            let mut promise = spawn(async { 7 });
            let first = Pin::new(&mut promise).await;
            assert_eq!(first.unwrap(), 7);
            let _ = Pin::new(&mut promise).await;
        });
        let error = twice.await.unwrap_err();
        assert!(error.is_panicked(), "{error}");
        Ok(())
    });
}

#[test]
fn await_one_keeps_the_other_tasks() {
    let winners: BTreeSet<u32> = trials(3, 50, || async {
        let mut promises = vec![call(|| async { 0 })?, call(|| async { 1 })?];
        let winner = await_one(&mut promises).await?;
        let [other] = promises.try_into().map_err(|_| "one remains")?;
        assert_eq!(other.await?, 1 - winner);
        Ok(winner)
    })
    .map(|trial| trial.outcome.unwrap())
    .collect();
    assert_eq!(winners, BTreeSet::from([0, 1]), "either may come first");
}

/// Miou prefers a task that ended normally. In matou each of the completed tasks is equally likely.
#[test]
fn await_one_may_return_any_completed_task() {
    let mut failed = 0;
    for trial in trials(1, 400, || async {
        let endless = |_| try_spawn(async { std::future::pending::<Result<(), &str>>().await });
        let mut promises = vec![try_spawn(async { Err("bad") }), try_spawn(async { Ok(()) })];
        promises.extend((0..8).map(endless));
        sleep(std::time::Duration::from_millis(1)).await;
        let failed = await_one(&mut promises).await.is_err();
        for promise in promises {
            promise.cancel().await;
        }
        Ok(failed)
    }) {
        failed += u32::from(trial.outcome.unwrap());
    }
    assert!((150..250).contains(&failed), "{failed} of 400");
}

#[test]
fn await_first_cancels_the_other_tasks() {
    let winners: BTreeSet<u32> = trials(3, 50, || async {
        let held = Arc::new(());
        let race = |number: u32| {
            let held = Arc::clone(&held);
            move || async move {
                let _held = held;
                number
            }
        };
        let promises = vec![call(race(0))?, call(race(1))?];
        let winner = await_first(promises).await?;
        assert_eq!(Arc::strong_count(&held), 1, "the loser is dropped");
        Ok(winner)
    })
    .map(|trial| trial.outcome.unwrap())
    .collect();
    assert_eq!(winners, BTreeSet::from([0, 1]), "either may win");
}

#[test]
fn only_the_parent_awaits_a_task() {
    for trial in trials(1, 20, || async {
        let first = spawn(async {});
        let second = spawn(async move {
            let _ = first.await;
        });
        second.await?;
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotAChild { .. }), "{violation}");
    }
}

#[test]
fn only_the_parent_awaits_a_task_of_another_domain() {
    for trial in trials(3, 50, || async {
        let passed: Arc<Mutex<Option<Promise<()>>>> = Arc::default();
        let (put, get) = (Arc::clone(&passed), passed);
        let first = call(move || async move {
            *put.lock().unwrap() = Some(spawn(super::endless()));
            super::endless().await;
        })?;
        let second = call(move || async move {
            let promise = loop {
                let taken = get.lock().unwrap().take();
                match taken {
                    Some(promise) => break promise,
                    None => yield_now().await,
                }
            };
            let _ = promise.await;
        })?;
        second.await?;
        first.await?;
        Ok(())
    }) {
        let report = crate::support::report(trial.outcome);
        let names: Vec<_> = report.violations().iter().map(Violation::name).collect();
        assert!(names.contains(&"NotAChild"), "{report}");
    }
}

/// A task that returns the promise of its child leaves the child behind.
#[test]
fn a_promise_returned_by_its_parent_is_a_child_left_behind() {
    for trial in trials(1, 20, || async {
        #[expect(clippy::async_yields_async, reason = "that is what is shown")]
        let child = spawn(async { spawn(async {}) });
        let _grandchild = child.await?;
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::StillHasChildren { .. }), "{violation}");
        assert_eq!(violation.task().id.to_string(), "#2", "the task that returned the promise");
    }
}

/// In an abnormal end no child must be awaited: the children are cancelled.
#[test]
fn children_need_not_be_awaited_in_an_abnormal_end() {
    check(1, || async {
        let ended = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ended);
        let child = try_spawn(async move {
            let _grandchild = spawn(async move {
                let _flag = SetOnDrop(flag);
                super::endless().await;
            });
            yield_now().await;
            Err::<(), _>("on purpose")
        });
        let error = child.await.unwrap_err();
        assert_eq!(error.into_failure(), Some("on purpose"));
        assert!(ended.get() || Rc::strong_count(&ended) == 1, "it is dropped");
        Ok::<_, MainError>(())
    });
}

struct SetOnDrop(Rc<Cell<bool>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}
