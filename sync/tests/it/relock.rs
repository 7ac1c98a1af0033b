//! Is a task that waits for itself named, and nobody else?

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::process::Command;
use std::sync::{Mutex as StdMutex, Once};
use std::task::{Context, Waker};

use futures::executor::block_on;
use futures::future::{FutureExt, join};
use futures::stream::{FuturesUnordered, StreamExt};
use matou_sync::{Condition, Mutex, Relock, set_relock_hook};

use crate::support::Task;

static REPORTS: StdMutex<Vec<Relock>> = StdMutex::new(Vec::new());

/// Collects reports from here on. There is one hook for all tests, so each one asks for its own
/// lines.
fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_relock_hook(|relock| REPORTS.lock().unwrap().push(relock.clone()));
    });
}

/// How often the pair of lines was reported, both in this file.
fn reports(held_since: u32, wanted_at: u32) -> usize {
    let is_ours = |place: &Location<'_>, line| place.file() == file!() && place.line() == line;
    let reports = REPORTS.lock().unwrap();
    reports
        .iter()
        .filter(|it| is_ours(it.held_since, held_since) && is_ours(it.wanted_at, wanted_at))
        .count()
}

#[test]
fn m13_a_task_that_locks_twice_is_reported_once_with_both_lines() {
    collect();
    let (mutex, task) = (Mutex::new(0), Task::new());
    let guard = task.finish(mutex.lock());
    let held_since = line!() - 1;
    let mut second = mutex.lock();
    let wanted_at = line!() - 1;
    task.wait(&mut second);
    task.wait(&mut second);
    assert_eq!(reports(held_since, wanted_at), 1);
    // It is no error: once the guard is gone the lock resolves.
    drop(guard);
    drop(task.finish(second));
}

#[test]
fn m13_two_branches_of_a_join_are_suspected_and_go_on() {
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
fn another_task_that_waits_is_not_suspected() {
    collect();
    let (mutex, holder, waiter) = (Mutex::new(0), Task::new(), Task::new());
    let _guard = holder.finish(mutex.lock());
    let held_since = line!() - 1;
    let mut second = mutex.lock();
    let wanted_at = line!() - 1;
    waiter.wait(&mut second);
    assert_eq!(reports(held_since, wanted_at), 0);
}

#[test]
fn a_task_that_held_the_lock_before_is_not_suspected() {
    collect();
    let (mutex, task, other) = (Mutex::new(0), Task::new(), Task::new());
    drop(task.finish(mutex.lock()));
    let _guard = other.finish(mutex.lock());
    let held_since = line!() - 1;
    let mut second = mutex.lock();
    let wanted_at = line!() - 1;
    task.wait(&mut second);
    assert_eq!(reports(held_since, wanted_at), 0);
}

#[test]
fn wakers_that_tell_nothing_raise_no_suspicion() {
    collect();
    let mutex = Mutex::new(0);
    let guard = mutex.lock().now_or_never();
    let held_since = line!() - 1;
    assert!(guard.is_some());
    assert!(mutex.lock().now_or_never().is_none());
    let wanted_at = line!() - 1;
    assert_eq!(reports(held_since, wanted_at), 0);
    drop(guard);

    let mut noop = Context::from_waker(Waker::noop());
    let _guard = pin!(mutex.lock()).poll(&mut noop);
    let held_since = line!() - 1;
    assert!(pin!(mutex.lock()).poll(&mut noop).is_pending());
    let wanted_at = line!() - 1;
    assert_eq!(reports(held_since, wanted_at), 0);
}

#[test]
fn a_guard_from_try_lock_raises_no_suspicion() {
    collect();
    let (mutex, task) = (Mutex::new(0), Task::new());
    let _guard = mutex.try_lock();
    let held_since = line!() - 1;
    assert_eq!(mutex.holder().map(Location::line), Some(held_since));
    let mut second = mutex.lock();
    let wanted_at = line!() - 1;
    task.wait(&mut second);
    assert_eq!(reports(held_since, wanted_at), 0);
}

#[test]
fn children_with_wakers_of_their_own_raise_no_suspicion() {
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
fn a_wait_that_locks_again_behind_its_own_task_is_reported_at_the_wait() {
    collect();
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut wait = changed.wait(task.finish(mutex.lock()));
    let wanted_at = line!() - 1;
    task.wait(&mut wait);
    let guard = task.finish(mutex.lock());
    let held_since = line!() - 1;
    changed.signal();
    task.wait(&mut wait);
    assert_eq!(reports(held_since, wanted_at), 1);
    drop(guard);
    assert!(task.poll(&mut wait).is_ready());
}

#[test]
fn a_hook_that_panics_leaves_the_mutex_usable() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "relock::in_a_process_of_its_own", "--nocapture"]);
    let output = child.env(MODE, "panic").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_default_hook_prints_each_pair_of_lines_once() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "relock::in_a_process_of_its_own", "--nocapture"]);
    let output = child.env(MODE, "default").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("matou-sync: the lock")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_ne!(lines[0], lines[1]);
    assert!(lines.iter().all(|line| line.matches(file!()).count() == 2), "{text}");
}

/// Says what the test below is to do; without it, nothing.
const MODE: &str = "MATOU_SYNC_RELOCK";

/// The part of the two tests above that needs the hook for itself.
#[test]
fn in_a_process_of_its_own() {
    let (mutex, task) = (Mutex::new(0), Task::new());
    match std::env::var(MODE).as_deref() {
        Ok("default") => {
            for _ in 0..5 {
                let _guard = task.finish(mutex.lock());
                task.wait(&mut mutex.lock());
                task.wait(&mut mutex.lock());
            }
        }
        Ok("panic") => {
            set_relock_hook(|_| std::panic::resume_unwind(Box::new("hook")));
            let guard = task.finish(mutex.lock());
            let mut second = mutex.lock();
            let poll = std::panic::AssertUnwindSafe(|| task.poll(&mut second).is_ready());
            assert!(std::panic::catch_unwind(poll).is_err());
            drop(guard);
            drop(task.finish(second));
            assert_eq!((mutex.waiters(), mutex.holder()), (0, None));
        }
        _ => {}
    }
}
