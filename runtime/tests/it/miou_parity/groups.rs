//! `Orphans`: groups of tasks that run in the background of their parent.

use std::rc::Rc;
use std::time::Duration;

use matou_runtime::{
    MainError, Orphans, Task, TryNext, Violation, sleep, spawn, timeout, yield_now,
};

use super::{check, trials};
use crate::support::violation;

fn spawn_sleeper(orphans: &Orphans<u32>, number: u32, millis: u64) {
    let sleeper = async move {
        sleep(Duration::from_millis(millis)).await;
        number
    };
    Task::new().orphans(orphans).spawn(sleeper).expect("it has no limit");
}

/// `care` distinguishes an empty group, no completed child, and an outcome; the `Some None` of Miou
/// is `TryNext::Pending`.
#[test]
fn care_returns_the_outcome_of_a_completed_child() {
    check(1, || async {
        let orphans = Orphans::new();
        assert!(matches!(orphans.care(), TryNext::Empty));
        spawn_sleeper(&orphans, 1, 5);
        assert!(matches!(orphans.care(), TryNext::Pending));
        sleep(Duration::from_millis(6)).await;
        yield_now().await;
        match orphans.care() {
            TryNext::Completed(outcome) => assert_eq!(outcome?, 1),
            other => return Err(format!("{other:?}").into()),
        }
        assert!(matches!(orphans.care(), TryNext::Empty));
        Ok::<_, MainError>(())
    });
}

/// Replaces the loop around `care` and `yield` in Miou.
#[test]
fn next_waits_for_each_child() {
    check(1, || async {
        let orphans = Orphans::new();
        for number in 1..=3 {
            spawn_sleeper(&orphans, number, u64::from(4 - number));
        }
        let mut order = Vec::new();
        while let Some(outcome) = orphans.next().await {
            order.push(outcome?);
        }
        assert_eq!(order, [3, 2, 1], "in the order of completion");
        Ok::<_, MainError>(())
    });
}

#[test]
fn take_returns_the_promise_of_a_child() {
    check(1, || async {
        let orphans = Orphans::new();
        spawn_sleeper(&orphans, 1, 5);
        let promise = orphans.take().ok_or("there is one")?;
        assert!(orphans.is_empty());
        assert_eq!(promise.await?, 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_cancelled_next_loses_no_child() {
    check(1, || async {
        let orphans = Orphans::new();
        spawn_sleeper(&orphans, 1, 5);
        spawn_sleeper(&orphans, 2, 5);
        let early = timeout(Duration::from_millis(1), orphans.next()).await;
        assert!(early.is_err());
        let mut sum = 0;
        while let Some(outcome) = orphans.next().await {
            sum += outcome?;
        }
        assert_eq!(sum, 3, "each outcome was returned once");
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_group_of_another_task_may_not_be_used() {
    for trial in trials(1, 20, || async {
        let orphans = Rc::new(Orphans::new());
        spawn_sleeper(&orphans, 1, 5);
        let shared = Rc::clone(&orphans);
        let thief = spawn(async move {
            let _ = shared.next().await;
        });
        thief.await?;
        while orphans.next().await.is_some() {}
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotAChild { .. }), "{violation}");
    }
}

/// Spawning into the group of another task is a violation too.
#[test]
fn a_task_may_not_spawn_into_the_group_of_another_task() {
    for trial in trials(1, 20, || async {
        let orphans = Rc::new(Orphans::new());
        spawn_sleeper(&orphans, 1, 5);
        let shared = Rc::clone(&orphans);
        let stranger = spawn(async move { spawn_sleeper(&shared, 2, 5) });
        stranger.await?;
        while orphans.next().await.is_some() {}
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotAChild { .. }), "{violation}");
    }
}

#[test]
fn children_in_a_dropped_group_are_children_left_behind() {
    for trial in trials(1, 20, || async {
        let orphans = Orphans::new();
        spawn_sleeper(&orphans, 1, 5);
        drop(orphans);
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::StillHasChildren { .. }), "{violation}");
    }
}
