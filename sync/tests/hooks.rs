//! The reports to the host of the process: each wait with its line and the holder of the lock, and
//! each acquisition and release while other tasks wait. Each operation consumes budget once.
//!
//! The host of this process records the reports per thread.

#![cfg(not(any(loom, shuttle)))]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Waker};

use futures::FutureExt;
use futures::executor::block_on;
use matou_hooks::{Current, Holder, Host, Target, TaskKey, Wait, poll_budget, replace_current};
use matou_sync::{
    Barrier, Computation, Condition, Mutex, OnceCell, Queue, RwLock, Semaphore, Trigger,
};

std::thread_local! {
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

struct Recorder;

fn record(text: String) {
    EVENTS.with_borrow_mut(|events| events.push(text));
    if PANICS.get() {
        resume_unwind(Box::new("the host"));
    }
}

fn describe(holder: Holder) -> String {
    let (_, task) = holder.task.map_or((0, 0), TaskKey::into_parts);
    format!("{task}@{}", holder.at.line())
}

impl Host for Recorder {
    fn on_wait(&self, wait: &Wait, _: &Context<'_>) {
        let target = wait.target.expect("every primitive of this crate names itself");
        let holder = wait.holder.map_or("-".into(), describe);
        record(format!("{} {} {} {holder}", wait.operation, target.kind, wait.at.line()));
    }

    fn on_acquire(&self, target: Target, holder: Holder) {
        record(format!("acquired {} {}", target.kind, describe(holder)));
    }

    fn on_release(&self, target: Target) {
        record(format!("released {}", target.kind));
    }
}

/// Returns the events since the last call.
fn take_events() -> Vec<String> {
    EVENTS.take()
}

fn begin() {
    // All tests of this process set the same host.
    let _ = matou_hooks::set_host(&Recorder);
    drop(take_events());
}

/// Runs `f` as task `task`.
fn on_task<R>(task: u64, f: impl FnOnce() -> R) -> R {
    let before = replace_current(Current::new(TaskKey::from_parts(1, task), u16::MAX));
    let result = f();
    replace_current(before);
    result
}

#[test]
fn an_uncontended_lock_reports_nothing() {
    begin();
    let mutex = Mutex::new(0);
    drop(mutex.try_lock());
    drop(block_on(mutex.lock()));
    drop(mutex.lock_blocking());
    assert_eq!(take_events(), Vec::<String>::new());
}

#[test]
fn m13_a_lock_that_waits_names_the_task_that_holds_it_and_both_lines() {
    begin();
    let mutex = Mutex::new(0);
    let line = line!() + 1;
    let by_lock = on_task(7, || mutex.lock().now_or_never());
    let mut waiter = mutex.lock();
    assert!(on_task(7, || (&mut waiter).now_or_never()).is_none());
    drop(by_lock);
    let by_try = on_task(8, || mutex.try_lock());
    assert!((&mut waiter).now_or_never().is_none());
    drop(by_try);
    let outside = mutex.try_lock();
    assert!((&mut waiter).now_or_never().is_none());
    drop(waiter);
    drop(outside);
    let expected = [
        format!("lock lock {} 7@{line}", line + 1),
        "released lock".to_owned(),
        format!("acquired lock 8@{}", line + 4),
        format!("lock lock {} 8@{}", line + 1, line + 4),
        "released lock".to_owned(),
        format!("acquired lock 0@{}", line + 7),
        format!("lock lock {} 0@{}", line + 1, line + 7),
    ];
    assert_eq!(take_events(), expected);
}

#[test]
fn a_wait_for_a_condition_reports_that_it_waits_and_locks_again() {
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
        format!("condition condition {line} -"),
        format!("lock lock {line} 0@{}", line + 3),
        "released lock".to_owned(),
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
    let expected = [format!("pop queue {} -", line + 1), format!("push queue {} -", line + 3)];
    assert_eq!(take_events(), expected);
}

#[test]
fn a_wait_for_permits_is_reported_and_a_request_consumes_budget_once() {
    begin();
    let semaphore = Semaphore::new(1);
    let before = replace_current(Current::new(None, 2));
    drop(semaphore.acquire().now_or_never().expect("there is a permit"));
    let line = line!() + 1;
    let mut large = semaphore.acquire_many(2);
    assert!((&mut large).now_or_never().is_none());
    semaphore.add_permits(1);
    // Both requests have used the budget up. A waiter needs none.
    assert!(poll_budget(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(large.now_or_never().is_some());
    replace_current(before);
    assert_eq!(take_events(), [format!("acquire semaphore {line} -")]);
}

#[test]
fn waits_for_a_lock_or_a_cell_name_the_task_that_holds_it() {
    begin();
    let (lock, cell) = (RwLock::new(0), OnceCell::<u8>::new());
    let line = line!();
    let reading = on_task(7, || lock.try_read());
    let second = on_task(8, || lock.try_read());
    assert!(on_task(9, || lock.write().now_or_never()).is_none());
    drop(reading);
    assert!(on_task(9, || lock.write().now_or_never()).is_none());
    drop(second);
    let writing = on_task(8, || lock.write().now_or_never());
    assert!(lock.read().now_or_never().is_none());
    drop(writing);
    let mut initializing = Box::pin(cell.get_or_init(futures::future::pending));
    assert!(on_task(7, || (&mut initializing).now_or_never()).is_none());
    assert!(cell.get_or_init(|| async { 1 }).now_or_never().is_none());
    let expected = [
        format!("write lock lock {} 7@{}", line + 3, line + 1),
        format!("write lock lock {} -", line + 5),
        format!("read lock lock {} 8@{}", line + 8, line + 7),
        format!("once-cell lock {} 7@{}", line + 12, line + 10),
    ];
    let mut events = take_events();
    events.retain(|event| !event.starts_with("acquired") && event != "released lock");
    assert_eq!(events, expected);
}

#[test]
fn waits_for_barriers_triggers_and_computations_are_reported() {
    begin();
    let (barrier, trigger) = (Barrier::new(2), Trigger::counted(1));
    let (completer, computation) = Computation::<u8>::create();
    let before = replace_current(Current::new(None, 4));
    let line = line!();
    assert!(barrier.wait().now_or_never().is_none());
    assert!(trigger.wait().now_or_never().is_none());
    assert!(computation.wait().now_or_never().is_none());
    assert!(completer.ended().now_or_never().is_none());
    // Without budget nothing has begun.
    assert!(barrier.wait().now_or_never().is_none());
    replace_current(before);
    let names = ["barrier", "trigger", "computation", "computation"];
    let expected = (1..).zip(names).map(|(n, name)| format!("{name} {name} {} -", line + n));
    assert_eq!(take_events(), expected.collect::<Vec<_>>());
}

#[test]
fn an_unlock_by_a_panic_is_reported() {
    begin();
    let mutex = Mutex::new(0);
    let mut waiter = mutex.lock();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.try_lock();
        assert!((&mut waiter).now_or_never().is_none());
        resume_unwind(Box::new("panic"));
    }));
    assert!(panicked.is_err());
    assert_eq!(take_events().last().map(String::as_str), Some("released lock"));
}

#[test]
fn r11_each_operation_consumes_budget_once_and_a_waiter_none() {
    begin();
    let (mutex, queue) = (Mutex::new(0), Queue::bounded(1));
    let before = replace_current(Current::new(None, 3));
    assert!(queue.push(1).now_or_never().is_some());
    assert!(queue.pop().now_or_never().is_some());
    assert!(mutex.lock().now_or_never().is_some());
    // Without budget nothing has begun.
    assert!(mutex.lock().now_or_never().is_none());
    assert_eq!((mutex.waiters(), take_events()), (0, Vec::new()));

    replace_current(Current::new(None, 2));
    let (mut lock, mut pop) = (mutex.lock(), queue.pop());
    let guard = mutex.try_lock();
    assert!((&mut lock).now_or_never().is_none() && (&mut pop).now_or_never().is_none());
    drop(guard);
    queue.try_push(2).expect("the queue is empty");
    assert!(poll_budget(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(lock.now_or_never().is_some() && pop.now_or_never().is_some());
    replace_current(before);
}

#[test]
fn f10_a_panic_of_the_host_leaves_nothing_locked() {
    begin();
    let (mutex, changed, queue) = (Mutex::new(0), Condition::new(), Queue::<u8>::bounded(1));
    PANICS.set(true);
    let guard = mutex.try_lock();
    let mut waiter = mutex.lock();
    assert!((&mut waiter).now_or_never().is_none(), "a wait");
    drop(guard);
    let guard = mutex.try_lock().expect("a release while a task waits");
    drop(guard);
    assert!((&mut waiter).now_or_never().is_some(), "the waiter was notified");
    assert!(queue.pop().now_or_never().is_none());
    let mut wait = changed.wait(mutex.try_lock().expect("the mutex is unlocked"));
    assert!((&mut wait).now_or_never().is_none());
    drop(wait);
    PANICS.set(false);
    assert_eq!((mutex.waiters(), mutex.holder(), changed.waiters()), (0, None, 0));
    assert_eq!(take_events().len(), 6);
}
