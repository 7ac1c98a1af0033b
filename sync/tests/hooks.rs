//! Goal: an observer hears of each wait, each lock and each unlocking, once, at the line that
//! asked. Method: one for the process that writes down what this thread does.

#![cfg(not(any(loom, shuttle)))]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use futures::FutureExt;
use futures::executor::block_on;
use matou_sync::{Condition, Hooks, Mutex, Queue, set_hooks};

std::thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear(text: String) {
    HEARD.with_borrow_mut(|heard| heard.push(text));
}

/// Returns what was heard since the last time.
fn heard() -> Vec<String> {
    HEARD.take()
}

fn waiting(mutex: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    hear(format!("{what} {} {}", mutex.is_some(), at.line()));
}

fn acquired(_: usize, at: &'static Location<'static>) {
    hear(format!("acquired {}", at.line()));
}

fn released(_: usize) {
    hear("released".to_owned());
}

fn begin() {
    set_hooks(Hooks { on_wait: waiting, on_acquire: acquired, on_release: released });
    drop(heard());
}

#[test]
fn the_first_observer_stays() {
    begin();
    let other =
        Hooks { on_wait: waiting, on_acquire: acquired, on_release: |_| panic!("nobody calls it") };
    assert!(!set_hooks(other));
    drop(Mutex::new(0).try_lock());
    assert_eq!(heard().last().map(String::as_str), Some("released"));
}

#[test]
fn each_way_to_lock_is_told_with_its_line() {
    begin();
    let mutex = Mutex::new(0);
    let line = line!();
    drop(mutex.try_lock());
    drop(block_on(mutex.lock()));
    drop(mutex.lock_blocking());
    let expected = (1..=3).flat_map(|n| [format!("acquired {}", line + n), "released".to_owned()]);
    assert_eq!(heard(), expected.collect::<Vec<_>>());
}

#[test]
fn a_lock_that_is_refused_waits_and_one_that_is_given_up_holds_nothing() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    assert!(mutex.try_lock().is_none());
    let line = line!() + 1;
    let mut lock = mutex.lock();
    assert!((&mut lock).now_or_never().is_none());
    drop(lock);
    drop(guard);
    let expected = [&format!("acquired {}", line - 3), &format!("lock true {line}"), "released"];
    assert_eq!(heard(), expected);
}

#[test]
fn a_wait_for_a_condition_unlocks_and_locks_again() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let guard = mutex.try_lock().expect("it is free");
    let line = line!() + 1;
    let mut wait = changed.wait(guard);
    assert!((&mut wait).now_or_never().is_none());
    changed.signal();
    let other = mutex.try_lock();
    assert!((&mut wait).now_or_never().is_none());
    drop(other);
    drop(block_on(wait));
    let expected = [
        format!("acquired {}", line - 2),
        "released".to_owned(),
        format!("condition false {line}"),
        format!("acquired {}", line + 3),
        format!("lock true {line}"),
        "released".to_owned(),
        format!("acquired {line}"),
        "released".to_owned(),
    ];
    assert_eq!(heard(), expected);
}

#[test]
fn a_queue_tells_who_waits_to_push_and_to_pop() {
    begin();
    let queue = Queue::bounded(1);
    let line = line!();
    assert!(queue.pop().now_or_never().is_none());
    assert!(queue.push(1).now_or_never().is_some());
    assert!(queue.push(2).now_or_never().is_none());
    assert_eq!(heard(), [format!("pop false {}", line + 1), format!("push false {}", line + 3)]);
}

#[test]
fn a_panic_that_unlocks_is_told() {
    begin();
    let mutex = Mutex::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.try_lock();
        std::panic::resume_unwind(Box::new("half done"));
    }));
    assert!(panicked.is_err());
    assert_eq!(heard().last().map(String::as_str), Some("released"));
}
