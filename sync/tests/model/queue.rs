//! Each value arrives once, and no task waits while there is a value or a free slot for it.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{PopError, Queue};

use crate::support::loom::{OwnedFuture, explore, poll_once};

fn owned_pop<T: Send + 'static>(queue: &Arc<Queue<T>>) -> OwnedFuture<Result<T, PopError>> {
    let queue = queue.clone();
    Box::pin(async move { queue.pop().await })
}

#[test]
fn a_pop_does_not_wait_while_there_is_a_value() {
    explore(3, || {
        let queue = Arc::new(Queue::bounded(1));
        let pushing = thread::spawn({
            let queue = queue.clone();
            move || queue.try_push(7).unwrap()
        });
        assert_eq!(block_on(queue.pop()), Ok(7));
        pushing.join().unwrap();
    });
}

#[test]
fn a_pop_from_an_unbounded_queue_does_not_wait_while_there_is_a_value() {
    explore(3, || {
        let queue = Arc::new(Queue::unbounded());
        let pushing = thread::spawn({
            let queue = queue.clone();
            move || queue.try_push(7).unwrap()
        });
        assert_eq!(block_on(queue.pop()), Ok(7));
        pushing.join().unwrap();
    });
}

#[test]
fn a_push_does_not_wait_while_there_is_a_free_slot() {
    explore(3, || {
        let queue = Arc::new(Queue::bounded(1));
        queue.try_push(1).unwrap();
        let popping = thread::spawn({
            let queue = queue.clone();
            move || assert_eq!(queue.try_pop(), Ok(1))
        });
        block_on(queue.push(2)).unwrap();
        popping.join().unwrap();
        assert_eq!(queue.try_pop(), Ok(2));
    });
}

#[test]
fn two_values_wake_two_pops() {
    explore(2, || {
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

#[test]
fn m2_a_notified_pop_that_is_dropped_wakes_the_next() {
    explore(3, || {
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
    });
}

#[test]
fn m14_close_push_pop_and_a_dropped_pop_account_for_the_value() {
    explore(2, || {
        // An `Arc` of loom's, which reports a value that is never dropped.
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

#[test]
fn a_task_that_waits_for_the_end_of_a_queue_sees_it() {
    explore(3, || {
        let queue = Arc::new(Queue::<u8>::bounded(1));
        let closing = thread::spawn({
            let queue = queue.clone();
            move || assert!(queue.close())
        });
        block_on(queue.closed());
        closing.join().unwrap();
    });
}
