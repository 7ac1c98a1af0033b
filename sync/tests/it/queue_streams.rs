//! Queues as streams and sinks, and operations on several values.

use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use futures::stream::FusedStream;
use futures::{SinkExt, Stream, StreamExt, stream};
use matou_sync::{PopError, PushError, Queue};

use crate::support::{Task, with_deadline};

#[test]
fn a_stream_ends_when_the_queue_is_closed_and_empty() {
    let (queue, task) = (Queue::unbounded(), Task::new());
    let mut stream = queue.stream();
    task.assert_pending(&mut stream.next());
    queue.try_push(1).unwrap();
    queue.try_push(2).unwrap();
    assert_eq!((task.wakes(), task.assert_ready(stream.next())), (1, Some(1)));
    queue.close();
    assert_eq!((stream.size_hint(), stream.is_terminated()), ((0, Some(1)), false));
    assert_eq!(task.assert_ready(stream.next()), Some(2));
    assert_eq!((task.assert_ready(stream.next()), stream.is_terminated()), (None, true));
}

#[test]
fn m2_a_notified_stream_that_is_dropped_notifies_the_next_pop() {
    let (queue, task) = (Arc::new(Queue::unbounded()), Task::new());
    let mut stream = queue.stream_arc();
    let mut pop = queue.pop();
    task.assert_pending(&mut stream.next());
    task.assert_pending(&mut pop);
    queue.try_push(1).unwrap();
    drop(stream);
    assert_eq!((task.wakes(), task.assert_ready(pop)), (2, Ok(1)));
    assert_eq!(Arc::strong_count(&queue), 1);
}

#[test]
fn a_sink_keeps_one_value_while_the_queue_is_full() {
    let (queue, task) = (Queue::bounded(1), Task::new());
    let mut sink = queue.sink();
    task.assert_ready(sink.feed(1)).unwrap();
    task.assert_ready(sink.feed(2)).unwrap();
    task.assert_pending(&mut sink.feed(3));
    assert_eq!(queue.try_pop(), Ok(1));
    assert_eq!(task.wakes(), 1);
    task.assert_ready(sink.close()).unwrap();
    assert_eq!((queue.is_closed(), queue.try_pop()), (false, Ok(2)));
    queue.close();
    assert_eq!(task.assert_ready(sink.send(4)), Err(PushError(4)));
}

#[test]
fn a_sink_and_a_stream_pass_every_value_on() {
    let sum: usize = with_deadline(|| {
        let queue = Arc::new(Queue::bounded(2));
        let sink = queue.sink_arc();
        let numbers = stream::iter((0..300).map(Ok));
        let pushing = thread::spawn(|| block_on(numbers.forward(sink)));
        let sum = block_on(queue.stream().take(300).fold(0, |sum, n| async move { sum + n }));
        pushing.join().unwrap().unwrap();
        sum
    });
    assert_eq!(sum, 300 * 299 / 2);
}

#[test]
fn several_values_leave_at_once_and_wake_as_many_pushes() {
    let (queue, task) = (Queue::bounded(3), Task::new());
    let mut many = queue.pop_many(2);
    task.assert_pending(&mut many);
    (0..3).for_each(|number| queue.try_push(number).unwrap());
    let mut pushes = [queue.push(3), queue.push(4)];
    pushes.iter_mut().for_each(|push| task.assert_pending(push));
    assert_eq!(task.assert_ready(many), Ok(vec![0, 1]));
    assert_eq!(task.wakes(), 3);
    assert!(pushes.into_iter().all(|push| task.assert_ready(push).is_ok()));
    queue.close();
    assert_eq!(task.assert_ready(queue.pop_many(9)), Ok(vec![2, 3, 4]));
    assert_eq!(task.assert_ready(queue.pop_many(9)), Err(PopError));
}

#[test]
fn a_forced_push_displaces_the_oldest_value_and_wakes_a_pop() {
    let (queue, task) = (Queue::bounded(2), Task::new());
    let mut pop = queue.pop();
    task.assert_pending(&mut pop);
    assert_eq!(queue.force_push(1), Ok(None));
    assert_eq!((task.wakes(), task.assert_ready(pop)), (1, Ok(1)));
    let displaced = (2..6).map(|number| queue.force_push(number).unwrap());
    assert_eq!(displaced.collect::<Vec<_>>(), [None, None, Some(2), Some(3)]);
    assert_eq!(task.assert_ready(queue.pop_many(9)), Ok(vec![4, 5]));
    queue.close();
    assert_eq!(queue.force_push(6), Err(PushError(6)));
}

#[test]
fn a_task_that_waits_for_the_end_is_woken_by_it() {
    let (queue, task) = (Queue::<u8>::unbounded(), Task::new());
    let mut closed = queue.closed();
    task.assert_pending(&mut closed);
    queue.try_push(1).unwrap();
    task.assert_pending(&mut closed);
    queue.close();
    assert_eq!((task.wakes(), task.assert_ready(closed)), (1, ()));
    task.assert_ready(queue.closed());
}
