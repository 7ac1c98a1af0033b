//! All tasks of a round go on together, and a task that gives up is not counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;
use matou_sync::Barrier;

use crate::support::{Task, with_deadline};

#[test]
fn the_last_task_is_the_leader_and_the_others_are_woken() {
    let (barrier, task) = (Barrier::new(3), Task::new());
    for round in 1..=3 {
        let (mut first, mut second) = (barrier.wait(), barrier.wait());
        task.assert_pending(&mut first);
        task.assert_pending(&mut second);
        assert!(task.assert_ready(barrier.wait()).is_leader());
        assert_eq!(task.wakes(), 2 * round);
        // One of the next round does not keep those of this one waiting.
        let mut next = barrier.wait();
        task.assert_pending(&mut next);
        assert!(!task.assert_ready(first).is_leader());
        drop(next);
        assert!(!task.assert_ready(second).is_leader());
    }
}

#[test]
fn a_cancelled_waiter_is_not_counted() {
    let (barrier, task) = (Barrier::new(2), Task::new());
    for _ in 0..5 {
        task.assert_pending(&mut barrier.wait());
    }
    let (mut first, mut cancelled) = (barrier.wait(), barrier.wait());
    task.assert_pending(&mut first);
    assert!(task.assert_ready(&mut cancelled).is_leader());
    // It has completed already, so that its drop changes nothing.
    drop(cancelled);
    assert!(!task.assert_ready(first).is_leader());
    let mut waiting = barrier.wait();
    task.assert_pending(&mut waiting);
    assert!(task.assert_ready(barrier.wait()).is_leader());
    // All tasks of the round have arrived: one that is dropped now was there.
    drop(waiting);
    task.assert_pending(&mut barrier.wait());
}

#[test]
fn a_barrier_for_no_task_or_one_holds_no_task_up() {
    let task = Task::new();
    assert!([0, 1].map(Barrier::new).iter().all(|b| task.assert_ready(b.wait()).is_leader()));
}

#[test]
fn threads_never_are_more_than_one_round_apart() {
    const ROUNDS: usize = 50;
    let leaders = with_deadline(|| {
        let (barrier, arrived, leaders) =
            (Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 1..=ROUNDS {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        let result = block_on(barrier.wait());
                        leaders.fetch_add(usize::from(result.is_leader()), Ordering::SeqCst);
                        assert!(arrived.load(Ordering::SeqCst) >= 3 * round);
                    }
                });
            }
        });
        leaders.into_inner()
    });
    assert_eq!(leaders, ROUNDS);
}
