//! Each value is popped once, returned once, or dropped once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;
use matou_sync::{PopError, PushError, Queue, TryPopError, TryPushError};

use crate::support::{Task, with_deadline};

/// A value that counts its drops.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn values_leave_in_the_order_in_which_they_were_pushed() {
    let queue = Queue::unbounded();
    (0..1000).for_each(|number| queue.try_push(number).unwrap());
    assert_eq!((queue.len(), queue.is_empty(), queue.capacity()), (1000, false, None));
    assert!((0..1000).all(|number| queue.try_pop() == Ok(number)));
    assert_eq!(queue.try_pop(), Err(TryPopError::Empty));
}

#[test]
fn pushes_to_a_full_queue_wait_and_are_notified_in_order() {
    let queue = Queue::bounded(1);
    queue.try_push(0).unwrap();
    assert_eq!(queue.try_push(9), Err(TryPushError::Full(9)));
    let (first_task, second_task) = (Task::new(), Task::new());
    let (mut first, mut second) = (queue.push(1), queue.push(2));
    first_task.assert_pending(&mut first);
    second_task.assert_pending(&mut second);

    assert_eq!(queue.try_pop(), Ok(0));
    assert_eq!((first_task.wakes(), second_task.wakes()), (1, 0));
    assert_eq!(first_task.assert_ready(first), Ok(()));
    assert_eq!(queue.try_pop(), Ok(1));
    assert_eq!(second_task.assert_ready(second), Ok(()));
    assert_eq!(queue.try_pop(), Ok(2));
}

#[test]
fn each_value_wakes_one_pop_in_order() {
    let queue = Queue::unbounded();
    let tasks = [Task::new(), Task::new(), Task::new()];
    let mut pops: Vec<_> = tasks.iter().map(|_| queue.pop()).collect();
    tasks.iter().zip(&mut pops).for_each(|(task, pop)| task.assert_pending(pop));
    queue.try_push('a').unwrap();
    queue.try_push('b').unwrap();
    assert_eq!(tasks.each_ref().map(Task::wakes), [1, 1, 0]);
    let mut pops = pops.into_iter();
    assert_eq!(tasks[0].assert_ready(pops.next().unwrap()), Ok('a'));
    assert_eq!(tasks[1].assert_ready(pops.next().unwrap()), Ok('b'));
}

#[test]
fn a_notified_pop_that_was_overtaken_waits_again_in_its_place() {
    let (queue, task) = (Queue::unbounded(), Task::new());
    let mut pop = queue.pop();
    task.assert_pending(&mut pop);
    queue.try_push(1).unwrap();
    assert_eq!(queue.try_pop(), Ok(1));
    let mut later = queue.pop();
    Task::new().assert_pending(&mut later);
    task.assert_pending(&mut pop);
    queue.try_push(2).unwrap();
    assert_eq!((task.wakes(), task.assert_ready(pop)), (2, Ok(2)));
}

#[test]
fn m2_a_notified_pop_dropped_before_its_poll_wakes_the_next() {
    let queue = Queue::unbounded();
    let (first_task, second_task) = (Task::new(), Task::new());
    let (mut first, mut second) = (queue.pop(), queue.pop());
    first_task.assert_pending(&mut first);
    second_task.assert_pending(&mut second);
    queue.try_push(1).unwrap();
    assert_eq!((first_task.wakes(), second_task.wakes()), (1, 0));
    drop(first);
    assert_eq!(second_task.wakes(), 1);
    assert_eq!(second_task.assert_ready(second), Ok(1));
}

#[test]
fn m2_a_notified_push_dropped_before_its_poll_wakes_the_next() {
    let queue = Queue::bounded(1);
    queue.try_push(0).unwrap();
    let (first_task, second_task) = (Task::new(), Task::new());
    let (mut first, mut second) = (queue.push(1), queue.push(2));
    first_task.assert_pending(&mut first);
    second_task.assert_pending(&mut second);
    assert_eq!(queue.try_pop(), Ok(0));
    drop(first);
    assert_eq!(second_task.wakes(), 1);
    assert_eq!(second_task.assert_ready(second), Ok(()));
    assert_eq!(queue.try_pop(), Ok(2));
}

#[test]
fn f20_b11_a_push_that_was_overtaken_five_times_goes_first() {
    let (queue, task) = (Queue::bounded(1), Task::new());
    queue.try_push("job").unwrap();
    let mut push = queue.push("outsider");
    task.assert_pending(&mut push);
    for overtaken in 1..=5 {
        assert_eq!(queue.try_pop(), Ok("job"));
        assert_eq!(task.wakes(), overtaken);
        // The slot is free and the push is notified, but the newcomer is faster.
        queue.try_push("job").unwrap();
        task.assert_pending(&mut push);
    }
    assert_eq!(queue.try_pop(), Ok("job"));
    assert_eq!(queue.try_push("job"), Err(TryPushError::Full("job")), "newcomers are held back");
    let mut newcomer = queue.push("job");
    Task::new().assert_pending(&mut newcomer);
    assert_eq!(task.assert_ready(push), Ok(()));
    assert_eq!(queue.try_pop(), Ok("outsider"));
    assert_eq!(Task::new().assert_ready(newcomer), Ok(()));
}

#[test]
fn f20_b11_a_pop_that_was_overtaken_five_times_goes_first() {
    let (queue, task) = (Queue::unbounded(), Task::new());
    let mut pop = queue.pop();
    task.assert_pending(&mut pop);
    for round in 0..5 {
        queue.try_push(round).unwrap();
        assert_eq!(queue.try_pop(), Ok(round));
        task.assert_pending(&mut pop);
    }
    queue.try_push(5).unwrap();
    assert_eq!(queue.try_pop(), Err(TryPopError::Empty), "newcomers are held back");
    // Only the value that is reserved is held back.
    queue.try_push(6).unwrap();
    assert_eq!(queue.try_pop(), Ok(5));
    assert_eq!(task.assert_ready(pop), Ok(6));
    queue.try_push(7).unwrap();
    assert_eq!(queue.try_pop(), Ok(7));
}

#[test]
fn f20_a_starved_push_that_is_dropped_holds_no_newcomer_back() {
    let (queue, task) = (Queue::bounded(1), Task::new());
    queue.try_push(0).unwrap();
    let mut push = queue.push(1);
    task.assert_pending(&mut push);
    for _ in 0..5 {
        queue.try_pop().unwrap();
        queue.try_push(0).unwrap();
        task.assert_pending(&mut push);
    }
    queue.try_pop().unwrap();
    let mut newcomer = queue.push(2);
    let newcomer_task = Task::new();
    newcomer_task.assert_pending(&mut newcomer);
    drop(push);
    assert_eq!(newcomer_task.wakes(), 1);
    assert_eq!(newcomer_task.assert_ready(newcomer), Ok(()));
}

#[test]
fn b11_newcomers_on_another_thread_overtake_a_push_a_bounded_number_of_times() {
    let rounds = with_deadline(|| {
        let queue = Queue::bounded(2);
        queue.try_push(0).unwrap();
        queue.try_push(0).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            // Pops and pushes as fast as it can, and so usually takes the slot that it has freed.
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let _ = queue.try_pop();
                    let _ = queue.try_push(0);
                    assert!(queue.len() <= 2);
                }
            });
            for _ in 0..100 {
                block_on(queue.push(1)).unwrap();
            }
            stop.store(true, Ordering::SeqCst);
        });
        100
    });
    assert_eq!(rounds, 100);
}

#[test]
fn b13_a_queue_that_is_closed_while_many_wait_loses_and_keeps_none_of_them() {
    for is_full in [true, false] {
        let queue = Queue::bounded(3);
        if is_full {
            (0..3).for_each(|number| queue.try_push(number).unwrap());
        }
        let task = Task::new();
        let mut pushes: Vec<_> = (10..20).map(|number| queue.push(number)).collect();
        let mut pops: Vec<_> = (0..10).map(|_| queue.pop()).collect();
        if is_full {
            pushes.iter_mut().for_each(|push| task.assert_pending(push));
        } else {
            pops.iter_mut().for_each(|pop| task.assert_pending(pop));
        }
        queue.close();
        for (number, push) in (10..).zip(pushes) {
            assert_eq!(task.assert_ready(push), Err(PushError(number)));
        }
        let popped: Vec<_> =
            pops.into_iter().filter_map(|pop| task.assert_ready(pop).ok()).collect();
        assert_eq!(popped, if is_full { vec![0, 1, 2] } else { vec![] });
    }
}

#[test]
fn b14_a_queue_is_empty_after_each_push_and_pop() {
    for capacity in [None, Some(1), Some(31), Some(32), Some(33)] {
        let queue = capacity.map_or_else(Queue::unbounded, Queue::bounded);
        for number in 0..256 {
            queue.try_push(number).unwrap();
            assert_eq!((queue.len(), queue.is_empty()), (1, false));
            assert_eq!(queue.try_pop(), Ok(number));
            assert_eq!((queue.len(), queue.is_empty()), (0, true), "with {capacity:?}");
        }
    }
}

#[test]
fn closing_returns_values_to_waiting_pushes_and_lets_pops_finish() {
    let queue = Queue::bounded(1);
    queue.try_push(1).unwrap();
    let (push_task, pop_task) = (Task::new(), Task::new());
    let mut push = queue.push(2);
    push_task.assert_pending(&mut push);

    assert!(queue.close());
    assert!(!queue.close());
    assert!(queue.is_closed());
    assert_eq!(push_task.wakes(), 1);
    assert_eq!(push_task.assert_ready(push), Err(PushError(2)));
    assert_eq!(queue.try_push(3), Err(TryPushError::Closed(3)));
    assert_eq!(pop_task.assert_ready(queue.pop()), Ok(1));
    assert_eq!(pop_task.assert_ready(queue.pop()), Err(PopError));
    assert_eq!(queue.try_pop(), Err(TryPopError::Closed));
}

#[test]
fn the_peak_is_the_largest_number_of_values_so_far() {
    let queue = Queue::bounded(3).record_peak();
    assert_eq!(queue.peak_len(), Some(0));
    for value in 0..2 {
        block_on(queue.push(value)).expect("the queue is open");
    }
    queue.try_pop().expect("there are values");
    queue.try_push(2).expect("there is room");
    assert_eq!(queue.peak_len(), Some(2));
    // A value that makes room for another one leaves the number as it is.
    for value in 3..6 {
        queue.force_push(value).expect("the queue is open");
    }
    assert_eq!((queue.len(), queue.peak_len()), (3, Some(3)));
}

#[test]
fn closing_wakes_all_pops() {
    let queue = Queue::<u8>::unbounded();
    let task = Task::new();
    let mut pops: Vec<_> = (0..5).map(|_| queue.pop()).collect();
    pops.iter_mut().for_each(|pop| task.assert_pending(pop));
    queue.close();
    assert_eq!(task.wakes(), 5);
    assert!(pops.into_iter().all(|pop| task.assert_ready(pop) == Err(PopError)));
}

#[test]
fn m14_each_value_is_dropped_once_wherever_it_is() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = || Counted(drops.clone());
    let (queue, task) = (Queue::bounded(1), Task::new());

    drop(queue.push(counted()));
    assert_eq!(drops.swap(0, Ordering::SeqCst), 1, "with a push that was never polled");

    assert!(task.assert_ready(queue.push(counted())).is_ok());
    let mut waiting = queue.push(counted());
    task.assert_pending(&mut waiting);
    let returned = waiting.into_inner().unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 0, "a push that is given up returns its value");
    let mut waiting = queue.push(returned);
    task.assert_pending(&mut waiting);
    drop(waiting);
    assert_eq!(drops.swap(0, Ordering::SeqCst), 1, "with a push that waits");

    queue.close();
    drop(task.assert_ready(queue.push(counted())).unwrap_err());
    assert_eq!(drops.swap(0, Ordering::SeqCst), 1, "with the error");

    drop(queue);
    assert_eq!(drops.load(Ordering::SeqCst), 1, "with the queue");
}

#[test]
fn m14_closing_amid_pushes_pops_and_drops_accounts_for_every_value() {
    const VALUES: usize = 200;
    for _ in 0..50 {
        let (pushed, popped, drops) = with_deadline(|| {
            let drops = Arc::new(AtomicUsize::new(0));
            let (pushed, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let queue = Queue::bounded(2);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..VALUES {
                            if block_on(queue.push(Counted(drops.clone()))).is_ok() {
                                pushed.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    while let Ok(value) = block_on(queue.pop()) {
                        popped.fetch_add(1, Ordering::SeqCst);
                        drop(value);
                        // A pop that is polled once and then dropped must not take a value, unless
                        // it is ready.
                        if let std::task::Poll::Ready(Ok(value)) =
                            Task::new().poll(&mut queue.pop())
                        {
                            popped.fetch_add(1, Ordering::SeqCst);
                            drop(value);
                        }
                        if popped.load(Ordering::SeqCst) >= VALUES {
                            queue.close();
                        }
                    }
                });
            });
            (pushed.into_inner(), popped.into_inner(), drops.load(Ordering::SeqCst))
        });
        assert_eq!((popped, drops), (pushed, 2 * VALUES));
    }
}

#[test]
fn many_threads_pass_every_value_once() {
    for capacity in [Some(1), Some(2), Some(64), None] {
        let sum = with_deadline(move || {
            let queue = capacity.map_or_else(Queue::unbounded, Queue::bounded);
            let sum = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Ok(number) = block_on(queue.pop()) {
                            sum.fetch_add(number, Ordering::SeqCst);
                        }
                    });
                }
                let pushing = [0, 1, 2].map(|_| {
                    scope.spawn(|| {
                        (0..1000).for_each(|number| block_on(queue.push(number)).unwrap())
                    })
                });
                pushing.into_iter().for_each(|thread| thread.join().unwrap());
                queue.close();
            });
            sum.into_inner()
        });
        assert_eq!(sum, 3 * 499_500, "with a capacity of {capacity:?}");
    }
}
