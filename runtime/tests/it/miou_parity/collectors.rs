//! Orphans: tasks that go on beside their parent, and are collected.

use std::rc::Rc;
use std::time::Duration;

use matou_runtime::{
    MainError, Orphans, Task, TryNext, Violation, sleep, spawn, timeout, yield_now,
};

use super::{check, trials};
use crate::support::violation;

fn add(orphans: &Orphans<u32>, number: u32, millis: u64) {
    let nap = async move {
        sleep(Duration::from_millis(millis)).await;
        number
    };
    Task::new().orphans(orphans).spawn(nap).expect("it has no limit");
}

/// `care` tells nobody there, nobody ready, and an outcome apart; the original's `Some None` is
/// `TryNext::Pending`.
#[test]
fn care_hands_out_who_has_ended() {
    check(1, || async {
        let orphans = Orphans::new();
        assert!(matches!(orphans.care(), TryNext::Empty));
        add(&orphans, 1, 5);
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

/// What the original's loop around `care` and `yield` does, without the loop.
#[test]
fn next_waits_for_each() {
    check(1, || async {
        let orphans = Orphans::new();
        for number in 1..=3 {
            add(&orphans, number, u64::from(4 - number));
        }
        let mut order = Vec::new();
        while let Some(outcome) = orphans.next().await {
            order.push(outcome?);
        }
        assert_eq!(order, [3, 2, 1], "as they ended");
        Ok::<_, MainError>(())
    });
}

#[test]
fn take_makes_a_promise_of_an_orphan_again() {
    check(1, || async {
        let orphans = Orphans::new();
        add(&orphans, 1, 5);
        let promise = orphans.take().ok_or("there is one")?;
        assert!(orphans.is_empty());
        assert_eq!(promise.await?, 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_cancelled_next_leaves_nothing_behind() {
    check(1, || async {
        let orphans = Orphans::new();
        add(&orphans, 1, 5);
        add(&orphans, 2, 5);
        let early = timeout(Duration::from_millis(1), orphans.next()).await;
        assert!(early.is_err());
        let mut sum = 0;
        while let Some(outcome) = orphans.next().await {
            sum += outcome?;
        }
        assert_eq!(sum, 3, "each was handed out once");
        Ok::<_, MainError>(())
    });
}

#[test]
fn orphans_of_another_parent_are_not_ours() {
    for trial in trials(1, 20, || async {
        let orphans = Rc::new(Orphans::new());
        add(&orphans, 1, 5);
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

/// Nor may one put a child of one's own into it.
#[test]
fn a_child_put_into_the_collector_of_another_parent_is_not_its_child() {
    for trial in trials(1, 20, || async {
        let orphans = Rc::new(Orphans::new());
        add(&orphans, 1, 5);
        let shared = Rc::clone(&orphans);
        let stranger = spawn(async move { add(&shared, 2, 5) });
        stranger.await?;
        while orphans.next().await.is_some() {}
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotAChild { .. }), "{violation}");
    }
}

#[test]
fn orphans_left_in_a_collector_are_children_left_behind() {
    for trial in trials(1, 20, || async {
        let orphans = Orphans::new();
        add(&orphans, 1, 5);
        drop(orphans);
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::StillHasChildren { .. }), "{violation}");
    }
}
