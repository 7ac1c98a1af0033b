//! No signal is lost, and none ends two waits.

use std::thread;

use futures::executor::block_on;
use matou_sync::Trigger;

use crate::support::{Task, with_deadline};

#[test]
fn a_latched_trigger_lets_all_tasks_go_on_until_it_is_reset() {
    let (trigger, task) = (Trigger::latched(), Task::new());
    let mut waits = [trigger.wait(), trigger.wait()];
    waits.iter_mut().for_each(|wait| task.assert_pending(wait));
    assert_eq!(trigger.waiters(), 2);
    assert!(trigger.signal() && !trigger.signal());
    assert_eq!(task.wakes(), 2);
    task.assert_ready(trigger.wait());
    assert!(trigger.reset() && !trigger.reset());
    // These began before the signal. One that comes now has to wait.
    task.assert_pending(&mut trigger.wait());
    waits.into_iter().for_each(|wait| task.assert_ready(wait));
    assert_eq!((trigger.waiters(), trigger.try_wait()), (0, false));
}

#[test]
fn each_signal_of_a_counted_trigger_ends_one_wait_in_order() {
    let trigger = Trigger::counted(1);
    let tasks = [(); 3].map(|()| Task::new());
    let mut waits: Vec<_> = tasks.iter().map(|_| trigger.wait()).collect();
    tasks.iter().zip(&mut waits).for_each(|(task, wait)| task.assert_pending(wait));
    assert!(trigger.signal() && trigger.signal());
    assert_eq!(tasks.each_ref().map(Task::wakes), [1, 1, 0]);
    // One for the last, and one that is kept.
    assert_eq!([(); 3].map(|()| trigger.signal()), [true, true, false]);
    tasks.iter().zip(waits).for_each(|(task, wait)| task.assert_ready(wait));
    assert_eq!([trigger.try_wait(), trigger.try_wait()], [true, false]);
}

#[test]
fn m2_a_signalled_wait_that_is_dropped_passes_its_signal_on_or_leaves_it() {
    let (trigger, task) = (Trigger::counted(1), Task::new());
    let (mut first, mut second) = (trigger.wait(), trigger.wait());
    task.assert_pending(&mut first);
    task.assert_pending(&mut second);
    trigger.signal();
    drop(first);
    assert_eq!(task.wakes(), 2);
    assert!(trigger.signal(), "one for the wait, and one that is kept");
    drop(second);
    // Two signals without a task, of which one is kept.
    assert_eq!([trigger.try_wait(), trigger.try_wait()], [true, false]);
}

#[test]
fn a_reset_takes_kept_signals_away() {
    let trigger = Trigger::counted(5);
    (0..5).for_each(|_| assert!(trigger.signal()));
    assert!(trigger.reset() && !trigger.try_wait() && !trigger.is_signaled());
}

#[test]
fn threads_receive_as_many_signals_as_were_accepted() {
    const SIGNALS: usize = 300;
    with_deadline(|| {
        let trigger = Trigger::counted(usize::MAX / 4);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..SIGNALS).for_each(|_| block_on(trigger.wait())));
                scope.spawn(|| (0..SIGNALS).for_each(|_| assert!(trigger.signal())));
            }
        });
        assert!(!trigger.is_signaled());
    });
}
