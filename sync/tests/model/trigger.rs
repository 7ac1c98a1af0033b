//! A signal that is given while a wait begins is not lost.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::Trigger;

use crate::support::loom::{OwnedFuture, explore, poll_once};

fn owned_wait(trigger: &Arc<Trigger>) -> OwnedFuture<()> {
    let trigger = trigger.clone();
    Box::pin(async move { trigger.wait().await })
}

#[test]
fn a_wait_ends_that_begins_at_the_time_of_the_signal() {
    for make in [Trigger::latched, || Trigger::counted(1)] {
        explore(3, move || {
            let trigger = Arc::new(make());
            let signalling = thread::spawn({
                let trigger = trigger.clone();
                move || assert!(trigger.signal())
            });
            block_on(trigger.wait());
            signalling.join().unwrap();
        });
    }
}

#[test]
fn a_wait_that_has_begun_ends_although_the_trigger_is_reset() {
    explore(3, || {
        let trigger = Arc::new(Trigger::latched());
        let mut wait = owned_wait(&trigger);
        assert!(poll_once(&mut wait).is_pending());
        let resetting = thread::spawn({
            let trigger = trigger.clone();
            move || {
                trigger.signal();
                trigger.reset();
            }
        });
        block_on(wait);
        resetting.join().unwrap();
    });
}

#[test]
fn two_signals_end_two_waits_of_which_one_begins_at_that_time() {
    explore(2, || {
        let trigger = Arc::new(Trigger::counted(1));
        let mut first = owned_wait(&trigger);
        assert!(poll_once(&mut first).is_pending());
        let signalling = thread::spawn({
            let trigger = trigger.clone();
            move || [trigger.signal(), trigger.signal()]
        });
        block_on(trigger.wait());
        assert_eq!(signalling.join().unwrap(), [true, true]);
        block_on(first);
        assert!(!trigger.is_signaled());
    });
}

#[test]
fn m2_a_signalled_wait_that_is_dropped_leaves_its_signal() {
    explore(3, || {
        let trigger = Arc::new(Trigger::counted(1));
        let mut dropped = owned_wait(&trigger);
        assert!(poll_once(&mut dropped).is_pending());
        let signalling = thread::spawn({
            let trigger = trigger.clone();
            move || assert!(trigger.signal())
        });
        let dropping = thread::spawn(move || drop(dropped));
        block_on(trigger.wait());
        signalling.join().unwrap();
        dropping.join().unwrap();
        assert!(!trigger.is_signaled());
    });
}
