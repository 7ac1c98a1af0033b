//! Does each signal end one wait, and each broadcast those that were there?

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::model::Sabotage;
use matou_sync::{Condition, Mutex};

use crate::support::loom::{Owned, falls_without, holds, poll_once};

type Shared = Arc<(Mutex<bool>, Condition)>;

fn shared() -> Shared {
    Arc::new((Mutex::new(false), Condition::new()))
}

/// A wait that owns what it waits on, polled once, so that it stands in the line.
fn enqueued(shared: &Shared) -> Owned<()> {
    let shared = shared.clone();
    let mut wait: Owned<()> = Box::pin(async move {
        let (mutex, condition) = &*shared;
        drop(condition.wait(mutex.lock().await).await);
    });
    assert!(poll_once(&mut wait).is_pending());
    wait
}

fn wait_for_a_flag() {
    let shared = shared();
    let setter = thread::spawn({
        let shared = shared.clone();
        move || {
            let (flag, changed) = &*shared;
            *block_on(flag.lock()) = true;
            changed.signal();
        }
    });
    let (flag, changed) = &*shared;
    block_on(async {
        let guard = changed.wait_while(flag.lock().await, |flag| !*flag).await;
        assert!(*guard);
    });
    setter.join().unwrap();
    assert_eq!(changed.waiters(), 0);
}

#[test]
fn a_change_under_the_lock_cannot_slip_in_before_the_wait() {
    holds(3, wait_for_a_flag);
}

#[test]
fn a_wait_that_unlocks_before_it_is_in_the_line_is_found() {
    falls_without!(Sabotage::UnlockBeforeEnqueue, wait_for_a_flag);
}

/// One signal meets two waiters, the first of which is dropped.
fn one_signalled_waiter_is_dropped() {
    let shared = shared();
    let first = enqueued(&shared);
    let second = enqueued(&shared);
    let signalling = thread::spawn({
        let shared = shared.clone();
        move || assert!(shared.1.signal())
    });
    let dropping = thread::spawn(move || drop(first));
    block_on(second);
    signalling.join().unwrap();
    dropping.join().unwrap();
    assert_eq!(shared.1.waiters(), 0);
}

#[test]
fn m2_a_signalled_wait_that_is_dropped_passes_the_signal_on() {
    holds(3, one_signalled_waiter_is_dropped);
}

#[test]
fn m2_a_dropped_wait_that_keeps_its_signal_is_found() {
    falls_without!(Sabotage::WaitKeepsItsSignal, one_signalled_waiter_is_dropped);
}

#[test]
fn m6_a_signalled_wait_that_is_dropped_while_it_locks_passes_the_signal_on() {
    holds(3, || {
        let shared = shared();
        let mut first = enqueued(&shared);
        let second = enqueued(&shared);
        let guard = shared.0.try_lock().unwrap();
        assert!(shared.1.signal());
        // Called, but the mutex is held: the first now waits for the lock.
        assert!(poll_once(&mut first).is_pending());
        let dropping = thread::spawn(move || drop(first));
        drop(guard);
        block_on(second);
        dropping.join().unwrap();
        assert_eq!((shared.0.waiters(), shared.1.waiters()), (0, 0));
    });
}

#[test]
fn m8_signal_broadcast_and_drop_lose_no_call_and_keep_none() {
    holds(3, || {
        let shared = shared();
        let first = enqueued(&shared);
        let mut second = enqueued(&shared);
        let mut third = enqueued(&shared);
        let signalling = thread::spawn({
            let shared = shared.clone();
            move || usize::from(shared.1.signal())
        });
        let broadcasting = thread::spawn({
            let shared = shared.clone();
            move || shared.1.broadcast()
        });
        drop(first);
        let called = signalling.join().unwrap() + broadcasting.join().unwrap();
        // The first is counted if it was called before it was dropped. A signal that it then passed
        // on to one in the line, which the broadcast no longer found there, is not counted twice.
        assert!((2..=3).contains(&called), "{called} calls");
        assert!(poll_once(&mut second).is_ready());
        assert!(poll_once(&mut third).is_ready());
        assert!(poll_once(&mut enqueued(&shared)).is_pending());
    });
}

/// A broadcast calls one who is dropped, while another comes too late for it.
fn one_called_by_a_broadcast_is_dropped() {
    let shared = shared();
    let first = enqueued(&shared);
    let broadcasting = thread::spawn({
        let shared = shared.clone();
        move || {
            shared.1.broadcast();
            enqueued(&shared)
        }
    });
    let dropping = thread::spawn(move || drop(first));
    let mut late = broadcasting.join().unwrap();
    dropping.join().unwrap();
    assert!(poll_once(&mut late).is_pending());
}

#[test]
fn m8_a_broadcast_is_not_passed_on_to_one_who_came_later() {
    holds(3, one_called_by_a_broadcast_is_dropped);
}

#[test]
fn m8_a_broadcast_that_is_passed_on_is_found() {
    falls_without!(Sabotage::BroadcastIsPassedOn, one_called_by_a_broadcast_is_dropped);
}

/// One that was called by a broadcast looks why, while a later one is signalled, and gives up while
/// it locks: the one after that is to go on waiting.
fn one_called_by_a_broadcast_is_polled_late() {
    let shared = shared();
    let mut first = enqueued(&shared);
    let calling = thread::spawn(move || {
        shared.1.broadcast();
        let second = enqueued(&shared);
        // In some schedules the first has the mutex, so that these get no further.
        let signalled = shared.1.signal();
        let third = enqueued(&shared);
        let guard = shared.0.try_lock();
        let waits = signalled && shared.1.waiters() == 1 && guard.is_some();
        drop(guard);
        (second, waits.then_some(third))
    });
    drop((poll_once(&mut first), first));
    let (_second, third) = calling.join().unwrap();
    if let Some(mut third) = third {
        assert!(poll_once(&mut third).is_pending());
    }
}

#[test]
fn m8_a_broadcast_is_not_taken_for_a_signal() {
    holds(3, one_called_by_a_broadcast_is_polled_late);
}

#[test]
fn m8_a_broadcast_taken_for_a_signal_is_found() {
    falls_without!(Sabotage::BroadcastLookedForFirst, one_called_by_a_broadcast_is_polled_late);
}

#[test]
fn two_signals_end_two_waits() {
    holds(2, || {
        let shared = shared();
        let first = enqueued(&shared);
        let second = enqueued(&shared);
        let signalling = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || assert!(shared.1.signal()))
        });
        let waiting = thread::spawn(move || block_on(first));
        block_on(second);
        waiting.join().unwrap();
        for thread in signalling {
            thread.join().unwrap();
        }
    });
}
