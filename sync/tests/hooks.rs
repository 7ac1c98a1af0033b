//! The hooks report each wait, each lock and each unlock once, with the location of the call. The
//! hooks of this process record the events per thread.

#![cfg(not(any(loom, shuttle)))]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use futures::FutureExt;
use futures::executor::block_on;
use matou_sync::{Condition, Hooks, Mutex, Queue, set_hooks};

std::thread_local! {
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn record(text: String) {
    EVENTS.with_borrow_mut(|events| events.push(text));
}

/// Returns the events since the last call.
fn take_events() -> Vec<String> {
    EVENTS.take()
}

fn waiting(mutex: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    record(format!("{what} {} {}", mutex.is_some(), at.line()));
}

fn acquired(_: usize, at: &'static Location<'static>) {
    record(format!("acquired {}", at.line()));
}

fn released(_: usize) {
    record("released".to_owned());
}

fn begin() {
    set_hooks(Hooks { on_wait: waiting, on_acquire: acquired, on_release: released });
    drop(take_events());
}

#[test]
fn hooks_are_set_once() {
    begin();
    let other =
        Hooks { on_wait: waiting, on_acquire: acquired, on_release: |_| panic!("never called") };
    assert!(!set_hooks(other));
    drop(Mutex::new(0).try_lock());
    assert_eq!(take_events().last().map(String::as_str), Some("released"));
}

#[test]
fn each_way_to_lock_is_reported_with_its_line() {
    begin();
    let mutex = Mutex::new(0);
    let line = line!();
    drop(mutex.try_lock());
    drop(block_on(mutex.lock()));
    drop(mutex.lock_blocking());
    let expected = (1..=3).flat_map(|n| [format!("acquired {}", line + n), "released".to_owned()]);
    assert_eq!(take_events(), expected.collect::<Vec<_>>());
}

#[test]
fn a_lock_that_waits_is_reported_and_a_dropped_one_acquires_nothing() {
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
    assert_eq!(take_events(), expected);
}

#[test]
fn a_wait_for_a_condition_reports_that_it_unlocks_and_locks_again() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let guard = mutex.try_lock().expect("the mutex is unlocked");
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
    assert_eq!(take_events(), expected);
}

#[test]
fn pushes_and_pops_that_wait_are_reported() {
    begin();
    let queue = Queue::bounded(1);
    let line = line!();
    assert!(queue.pop().now_or_never().is_none());
    assert!(queue.push(1).now_or_never().is_some());
    assert!(queue.push(2).now_or_never().is_none());
    assert_eq!(
        take_events(),
        [format!("pop false {}", line + 1), format!("push false {}", line + 3)]
    );
}

#[test]
fn an_unlock_by_a_panic_is_reported() {
    begin();
    let mutex = Mutex::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.try_lock();
        std::panic::resume_unwind(Box::new("panic"));
    }));
    assert!(panicked.is_err());
    assert_eq!(take_events().last().map(String::as_str), Some("released"));
}
