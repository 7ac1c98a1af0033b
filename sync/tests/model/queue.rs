//! Does each value arrive once, and does nobody sleep beside a value or beside room?

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::model::Sabotage;
use matou_sync::{PopError, Queue};

use crate::support::loom::{Owned, falls_without, holds, poll_once};

fn owned_pop<T: Send + 'static>(queue: &Arc<Queue<T>>) -> Owned<Result<T, PopError>> {
    let queue = queue.clone();
    Box::pin(async move { queue.pop().await })
}

fn one_value_goes_over() {
    let queue = Arc::new(Queue::bounded(1));
    let pushing = thread::spawn({
        let queue = queue.clone();
        move || queue.try_push(7).unwrap()
    });
    assert_eq!(block_on(queue.pop()), Ok(7));
    pushing.join().unwrap();
}

#[test]
fn a_pop_does_not_sleep_beside_a_value() {
    holds(3, one_value_goes_over);
}

#[test]
fn a_pop_that_does_not_look_again_after_listening_is_found() {
    falls_without!(Sabotage::QueueWithoutRecheck, one_value_goes_over);
}

#[test]
fn a_push_that_does_not_order_its_look_at_the_poppers_is_found() {
    falls_without!(Sabotage::GateWithoutFence, one_value_goes_over);
}

#[test]
fn a_pop_from_an_unbounded_queue_does_not_sleep_beside_a_value() {
    holds(3, || {
        let queue = Arc::new(Queue::unbounded());
        let pushing = thread::spawn({
            let queue = queue.clone();
            move || queue.try_push(7).unwrap()
        });
        assert_eq!(block_on(queue.pop()), Ok(7));
        pushing.join().unwrap();
    });
}

fn a_push_waits_for_room() {
    let queue = Arc::new(Queue::bounded(1));
    queue.try_push(1).unwrap();
    let popping = thread::spawn({
        let queue = queue.clone();
        move || assert_eq!(queue.try_pop(), Ok(1))
    });
    block_on(queue.push(2)).unwrap();
    popping.join().unwrap();
    assert_eq!(queue.try_pop(), Ok(2));
}

#[test]
fn a_push_does_not_sleep_beside_room() {
    holds(3, a_push_waits_for_room);
}

#[test]
fn a_push_that_does_not_look_again_after_listening_is_found() {
    falls_without!(Sabotage::QueueWithoutRecheck, a_push_waits_for_room);
}

#[test]
fn two_values_call_two_pops() {
    holds(2, || {
        // One slot only: with more, a pop spins while a push is half done, which loom cannot end.
        let queue = Arc::new(Queue::bounded(1));
        let mut first = owned_pop(&queue);
        let mut second = owned_pop(&queue);
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut second).is_pending());
        let popping = thread::spawn(move || block_on(first).unwrap());
        block_on(queue.push(1)).unwrap();
        let pushing = thread::spawn({
            let queue = queue.clone();
            move || block_on(queue.push(2)).unwrap()
        });
        let popped = block_on(second).unwrap() + popping.join().unwrap();
        pushing.join().unwrap();
        assert_eq!(popped, 3);
    });
}

/// Two pops wait for one value, and the one that is first in the line is dropped.
fn one_called_pop_is_dropped() {
    let queue = Arc::new(Queue::bounded(1));
    let mut first = owned_pop(&queue);
    let mut second = owned_pop(&queue);
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    let pushing = thread::spawn({
        let queue = queue.clone();
        move || queue.try_push(7).unwrap()
    });
    let dropping = thread::spawn(move || drop(first));
    assert_eq!(block_on(second), Ok(7));
    pushing.join().unwrap();
    dropping.join().unwrap();
}

#[test]
fn m2_a_called_pop_that_is_dropped_calls_the_next() {
    holds(3, one_called_pop_is_dropped);
}

#[test]
fn m2_a_dropped_pop_that_keeps_its_call_is_found() {
    falls_without!(Sabotage::TurnKeepsItsCall, one_called_pop_is_dropped);
}

#[test]
fn m14_close_push_pop_and_a_dropped_pop_account_for_the_value() {
    holds(2, || {
        // Loom counts what an `Arc` of its own is used for, and reports one that is never dropped.
        let value = Arc::new(());
        let queue = Arc::new(Queue::bounded(1));
        let mut dropped = owned_pop(&queue);
        assert!(poll_once(&mut dropped).is_pending());
        let pushing = thread::spawn({
            let (queue, value) = (queue.clone(), value.clone());
            move || block_on(queue.push(value)).is_ok()
        });
        let closing = thread::spawn({
            let queue = queue.clone();
            move || queue.close()
        });
        let popping = thread::spawn({
            let queue = queue.clone();
            move || block_on(queue.pop()).is_ok()
        });
        drop(dropped);
        let pushed = pushing.join().unwrap();
        assert!(closing.join().unwrap());
        assert_eq!(popping.join().unwrap(), pushed);
        assert!(queue.is_empty());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
