//! A computation ends once, and leaves no task waiting.

use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use matou_sync::{Computation, ComputationError};

use crate::support::{Task, with_deadline};

#[test]
fn one_value_is_read_by_many_tasks_and_taken_by_the_last() {
    let (completer, mut computation) = Computation::create();
    let task = Task::new();
    task.assert_pending(&mut computation);
    let mut waits = [computation.wait(), computation.wait()];
    waits.iter_mut().for_each(|wait| task.assert_pending(wait));
    assert_eq!(completer.try_return("value".to_owned()), Ok(()));
    assert_eq!(task.wakes(), 3);
    assert!(!completer.try_cancel() && !computation.is_running());
    let value = "value".to_owned();
    assert!(waits.into_iter().all(|wait| task.assert_ready(wait) == Ok(&value)));
    assert_eq!(computation.peek(), Some(Ok(&value)));
    assert_eq!(task.assert_ready(&mut computation), Ok(value));
    assert_eq!(computation.peek(), None);
}

#[test]
fn a_completer_that_is_dropped_leaves_no_reader_waiting() {
    let (completer, mut computation) = Computation::<u8>::create();
    let task = Task::new();
    let mut wait = computation.wait();
    task.assert_pending(&mut wait);
    drop(completer);
    assert_eq!((task.wakes(), task.assert_ready(wait)), (1, Err(ComputationError::Abandoned)));
    assert_eq!(task.assert_ready(&mut computation), Err(ComputationError::Abandoned));
    assert!(!computation.try_cancel());
}

#[test]
fn either_side_can_cancel_and_the_other_one_sees_it() {
    let task = Task::new();
    let (completer, computation) = Computation::create();
    let mut ended = completer.ended();
    task.assert_pending(&mut ended);
    assert!(computation.try_cancel() && !computation.try_cancel());
    task.assert_ready(ended);
    assert_eq!(completer.try_return(1), Err(1));
    assert_eq!(task.assert_ready(computation), Err(ComputationError::Cancelled));

    let (completer, computation) = Computation::<u8>::create();
    assert!(completer.is_running() && completer.try_cancel());
    assert_eq!(task.assert_ready(computation), Err(ComputationError::Cancelled));

    let (completer, computation) = Computation::<u8>::create();
    let mut ended = completer.ended();
    task.assert_pending(&mut ended);
    drop(computation);
    task.assert_ready(ended);
    assert_eq!(task.wakes(), 2);
}

#[test]
fn m14_the_value_is_dropped_once_and_with_the_reader() {
    let value = Arc::new(());
    let (completer, computation) = Computation::create();
    completer.try_return(value.clone()).unwrap();
    drop(computation);
    assert_eq!(Arc::strong_count(&value), 1, "before the completer is dropped");
    let (completer, computation) = Computation::create();
    completer.try_return(value.clone()).unwrap();
    drop(completer);
    assert_eq!(Arc::strong_count(&value), 2);
    assert!(block_on(computation).is_ok());
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_reader_that_gives_up_can_await_the_value_again() {
    let (completer, mut computation) = Computation::create();
    let task = Task::new();
    task.assert_pending(&mut computation);
    task.assert_pending(&mut computation.wait());
    completer.try_return(1).unwrap();
    assert_eq!(task.assert_ready(computation.wait()), Ok(&1));
    assert_eq!(task.assert_ready(computation), Ok(1));
}

#[test]
#[should_panic = "`Computation` polled after completion"]
fn a_computation_whose_value_was_taken_panics() {
    let (completer, mut computation) = Computation::create();
    completer.try_return(1).unwrap();
    let task = Task::new();
    assert_eq!(task.assert_ready(&mut computation), Ok(1));
    let _ = task.poll(&mut computation);
}

#[test]
fn of_many_threads_that_return_a_value_one_succeeds() {
    for _ in 0..50 {
        let (winner, value) = with_deadline(|| {
            let (completer, computation) = Computation::create();
            let winners: Vec<_> = thread::scope(|scope| {
                let reader = scope.spawn(|| assert!(block_on(computation.wait()).is_ok()));
                let completer = &completer;
                let writers = [0, 1, 2].map(|n| (n, scope.spawn(move || completer.try_return(n))));
                reader.join().unwrap();
                let won = |(n, writer): (_, thread::ScopedJoinHandle<'_, Result<(), i32>>)| {
                    writer.join().unwrap().is_ok().then_some(n)
                };
                writers.into_iter().filter_map(won).collect()
            });
            (winners, block_on(computation))
        });
        assert_eq!((winner.len(), value), (1, Ok(winner[0])));
    }
}
