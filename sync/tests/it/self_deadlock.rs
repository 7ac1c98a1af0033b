//! A lock that waits for its own task is reported, and no other.

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::process::Command;
use std::sync::{Mutex as StdMutex, Once};
use std::task::{Context, Waker};

use futures::executor::block_on;
use futures::future::{FutureExt, join};
use futures::stream::{FuturesUnordered, StreamExt};
use matou_sync::{Condition, Mutex, SelfDeadlock, set_self_deadlock_hook};

use crate::support::Task;

static REPORTS: StdMutex<Vec<SelfDeadlock>> = StdMutex::new(Vec::new());

/// Collects reports from now on. All tests share the hook of the process, so each test looks up
/// reports by its own lines.
fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_self_deadlock_hook(Some(|found| REPORTS.lock().unwrap().push(found.clone())));
    });
}

/// Returns how often this pair of lines of this file was reported.
fn reports(locked_at: u32, waiting_at: u32) -> usize {
    let is_ours = |place: &Location<'_>, line| place.file() == file!() && place.line() == line;
    let reports = REPORTS.lock().unwrap();
    reports
        .iter()
        .filter(|it| is_ours(it.locked_at, locked_at) && is_ours(it.waiting_at, waiting_at))
        .count()
}

#[test]
fn m13_a_task_that_locks_twice_is_reported_once_with_both_lines() {
    collect();
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = task.assert_ready(mutex.lock());
    let locked_at = line!() - 1;
    let mut second = mutex.lock();
    let waiting_at = line!() - 1;
    task.assert_pending(&mut second);
    task.assert_pending(&mut second);
    assert_eq!(reports(locked_at, waiting_at), 1);
    // Not an error: once the guard is dropped the lock completes.
    drop(guard);
    drop(task.assert_ready(second));
}

#[test]
fn m13_two_branches_of_a_join_are_reported_and_complete() {
    collect();
    let mutex = Mutex::new(0);
    let add = async |yields: usize| {
        let mut guard = mutex.lock().await;
        for _ in 0..yields {
            crate::support::yield_now().await;
        }
        *guard += 1;
    };
    let line = line!() - 6;
    block_on(join(add(3), add(0)));
    assert_eq!(reports(line, line), 1);
    assert_eq!(mutex.into_inner(), 2);
}

#[test]
fn a_lock_that_another_task_waits_for_is_not_reported() {
    collect();
    let (mutex, holder, waiter) = (Mutex::new(0), Task::new(), Task::new());
    let _guard = holder.assert_ready(mutex.lock());
    let locked_at = line!() - 1;
    let mut second = mutex.lock();
    let waiting_at = line!() - 1;
    waiter.assert_pending(&mut second);
    assert_eq!(reports(locked_at, waiting_at), 0);
}

#[test]
fn a_task_that_held_the_lock_earlier_is_not_reported() {
    collect();
    let (mutex, task, other) = (Mutex::new(0), Task::new(), Task::new());
    drop(task.assert_ready(mutex.lock()));
    let _guard = other.assert_ready(mutex.lock());
    let locked_at = line!() - 1;
    let mut second = mutex.lock();
    let waiting_at = line!() - 1;
    task.assert_pending(&mut second);
    assert_eq!(reports(locked_at, waiting_at), 0);
}

#[test]
fn wakers_without_data_are_not_reported() {
    collect();
    let mutex = Mutex::new(0);
    let guard = mutex.lock().now_or_never();
    let locked_at = line!() - 1;
    assert!(guard.is_some());
    assert!(mutex.lock().now_or_never().is_none());
    let waiting_at = line!() - 1;
    assert_eq!(reports(locked_at, waiting_at), 0);
    drop(guard);

    let mut noop = Context::from_waker(Waker::noop());
    let _guard = pin!(mutex.lock()).poll(&mut noop);
    let locked_at = line!() - 1;
    assert!(pin!(mutex.lock()).poll(&mut noop).is_pending());
    let waiting_at = line!() - 1;
    assert_eq!(reports(locked_at, waiting_at), 0);
}

#[test]
fn a_guard_of_try_lock_is_not_reported() {
    collect();
    let (mutex, task) = (Mutex::new(0), Task::new());
    let _guard = mutex.try_lock();
    let locked_at = line!() - 1;
    assert_eq!(mutex.holder().map(Location::line), Some(locked_at));
    let mut second = mutex.lock();
    let waiting_at = line!() - 1;
    task.assert_pending(&mut second);
    assert_eq!(reports(locked_at, waiting_at), 0);
}

#[test]
fn children_with_their_own_wakers_are_not_reported() {
    collect();
    let mutex = Mutex::new(0);
    let add = async || {
        let mut guard = mutex.lock().await;
        crate::support::yield_now().await;
        *guard += 1;
    };
    let line = line!() - 4;
    block_on([add(), add()].into_iter().collect::<FuturesUnordered<_>>().count());
    assert_eq!(reports(line, line), 0);
}

#[test]
fn a_wait_that_locks_while_its_own_task_holds_the_mutex_is_reported() {
    collect();
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut wait = changed.wait(task.assert_ready(mutex.lock()));
    let waiting_at = line!() - 1;
    task.assert_pending(&mut wait);
    let guard = task.assert_ready(mutex.lock());
    let locked_at = line!() - 1;
    changed.signal();
    task.assert_pending(&mut wait);
    assert_eq!(reports(locked_at, waiting_at), 1);
    drop(guard);
    assert!(task.poll(&mut wait).is_ready());
}

/// Runs `alone` in a child process and returns its stderr.
fn run_alone(mode: &str) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "self_deadlock::alone", "--nocapture"]);
    let output = child.env(MODE, mode).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_hook_that_panics_leaves_the_mutex_usable() {
    run_alone("panic");
}

#[test]
fn without_a_hook_nothing_is_printed() {
    assert_eq!(run_alone("default"), "");
}

/// Selects the behaviour of `alone`. Without it, `alone` does nothing.
const MODE: &str = "MATOU_SYNC_SELF_DEADLOCK";

/// The part of the two tests above that needs the process-wide hook for itself.
#[test]
fn alone() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    match std::env::var(MODE).as_deref() {
        Ok("default") => {
            let _guard = task.assert_ready(mutex.lock());
            task.assert_pending(&mut mutex.lock());
        }
        Ok("panic") => {
            set_self_deadlock_hook(Some(|_| std::panic::resume_unwind(Box::new("hook"))));
            let guard = task.assert_ready(mutex.lock());
            let mut second = mutex.lock();
            let poll = std::panic::AssertUnwindSafe(|| task.poll(&mut second).is_ready());
            assert!(std::panic::catch_unwind(poll).is_err());
            drop(guard);
            drop(task.assert_ready(second));
            assert_eq!((mutex.waiters(), mutex.holder()), (0, None));
        }
        _ => {}
    }
}
