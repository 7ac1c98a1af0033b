//! A cell is initialized once, by the first task whose initializer succeeds.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::FutureExt;
use futures::executor::block_on;
use matou_sync::{Lazy, OnceCell};

use crate::support::{Task, with_deadline, yield_now};

#[test]
fn waiting_tasks_get_the_value_of_the_first() {
    let (cell, task) = (OnceCell::new(), Task::new());
    let mut first = pin!(cell.get_or_init(|| async {
        yield_now().await;
        1
    }));
    task.assert_pending(&mut first);
    let mut others = [2, 3].map(|number| Box::pin(cell.get_or_init(move || async move { number })));
    others.iter_mut().for_each(|other| task.assert_pending(other));
    assert_eq!((cell.set(4), cell.get()), (Err(4), None));
    assert_eq!(task.assert_ready(first), &1);
    assert!(others.into_iter().all(|other| *task.assert_ready(other) == 1));
    assert_eq!((cell.set(5), cell.get()), (Err(5), Some(&1)));
}

#[test]
fn an_initializer_that_fails_panics_or_is_cancelled_lets_the_next_task_initialize() {
    let (cell, task) = (OnceCell::<i32>::new(), Task::new());
    let mut failing = pin!(cell.get_or_try_init(|| async {
        yield_now().await;
        Err("error")
    }));
    task.assert_pending(&mut failing);
    let mut panicking = pin!(cell.get_or_init(|| async {
        yield_now().await;
        std::panic::resume_unwind(Box::new("panic"))
    }));
    let mut cancelled = Box::pin(cell.get_or_init(pending));
    let mut last = pin!(cell.get_or_init(|| async { 4 }));
    task.assert_pending(&mut panicking);
    task.assert_pending(&mut cancelled);
    task.assert_pending(&mut last);

    assert_eq!(task.assert_ready(failing), Err("error"));
    task.assert_pending(&mut panicking);
    let poll = std::panic::AssertUnwindSafe(|| task.poll(&mut panicking));
    assert!(std::panic::catch_unwind(poll).is_err());
    task.assert_pending(&mut cancelled);
    task.assert_pending(&mut last);
    drop(cancelled);
    assert_eq!(task.assert_ready(last), &4);
}

#[test]
fn a_lazy_value_is_initialized_by_one_of_many_threads() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static VALUE: Lazy<usize> = Lazy::new(|| {
        Box::pin(async {
            yield_now().await;
            CALLS.fetch_add(1, Ordering::SeqCst)
        })
    });
    assert_eq!(VALUE.get(), None);
    let sum: usize = with_deadline(|| {
        let threads = [(); 4].map(|()| thread::spawn(|| *block_on(VALUE.force())));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((sum, CALLS.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn a_lazy_value_that_fails_is_tried_again() {
    let calls = AtomicUsize::new(0);
    let lazy =
        Lazy::new(|| async { calls.fetch_add(1, Ordering::SeqCst).checked_sub(1).ok_or("no") });
    assert_eq!(lazy.try_force().now_or_never(), Some(Err("no")));
    assert_eq!(lazy.try_force().now_or_never(), Some(Ok(&0)));
    assert_eq!((lazy.try_force().now_or_never(), calls.load(Ordering::SeqCst)), (Some(Ok(&0)), 2));
}
