//! Each signal ends one wait, and each broadcast ends those that have begun.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{Condition, Mutex};

use crate::support::loom::{OwnedFuture, explore, poll_once};

type Shared = Arc<(Mutex<bool>, Condition)>;

fn shared() -> Shared {
    Arc::new((Mutex::new(false), Condition::new()))
}

/// Returns a wait that was polled once, so that it is in the list of waiters.
fn enqueued(shared: &Shared) -> OwnedFuture<()> {
    let shared = shared.clone();
    let mut wait: OwnedFuture<()> = Box::pin(async move {
        let (mutex, condition) = &*shared;
        drop(condition.wait(mutex.lock().await).await);
    });
    assert!(poll_once(&mut wait).is_pending());
    wait
}

#[test]
fn a_change_under_the_lock_is_not_missed_by_a_wait_that_begins() {
    explore(3, || {
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
    });
}

#[test]
fn m2_a_signalled_wait_that_is_dropped_passes_the_signal_on() {
    explore(3, || {
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
    });
}

#[test]
fn m6_a_signalled_wait_that_is_dropped_while_locking_passes_the_signal_on() {
    explore(3, || {
        let shared = shared();
        let mut first = enqueued(&shared);
        let second = enqueued(&shared);
        let guard = shared.0.try_lock().unwrap();
        assert!(shared.1.signal());
        // Woken, but the mutex is locked: from now on the first waits for the mutex.
        assert!(poll_once(&mut first).is_pending());
        let dropping = thread::spawn(move || drop(first));
        drop(guard);
        block_on(second);
        dropping.join().unwrap();
        assert_eq!((shared.0.waiters(), shared.1.waiters()), (0, 0));
    });
}

#[test]
fn m8_signal_broadcast_and_drop_lose_no_wake_up_and_store_none() {
    explore(3, || {
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
        let woken = signalling.join().unwrap() + broadcasting.join().unwrap();
        // The first counts if it was woken before it was dropped. If it then handed a signal over
        // to a waiter that the broadcast therefore did not find, that waiter is not counted twice.
        assert!((2..=3).contains(&woken), "{woken} wake-ups");
        assert!(poll_once(&mut second).is_ready());
        assert!(poll_once(&mut third).is_ready());
        assert!(poll_once(&mut enqueued(&shared)).is_pending());
    });
}

#[test]
fn m8_a_broadcast_is_not_passed_on_to_a_later_waiter() {
    explore(3, || {
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
    });
}

/// The first waiter is woken by a broadcast and polled while a later waiter is signalled. It is
/// dropped while it locks the mutex; the third waiter must not be woken by that.
#[test]
fn m8_a_broadcast_is_not_taken_for_a_signal() {
    explore(3, || {
        let shared = shared();
        let mut first = enqueued(&shared);
        let waking = thread::spawn(move || {
            shared.1.broadcast();
            let second = enqueued(&shared);
            // In some schedules the first has locked the mutex, so that these are not enqueued.
            let signalled = shared.1.signal();
            let third = enqueued(&shared);
            let guard = shared.0.try_lock();
            let waits = signalled && shared.1.waiters() == 1 && guard.is_some();
            drop(guard);
            (second, waits.then_some(third))
        });
        drop((poll_once(&mut first), first));
        let (_second, third) = waking.join().unwrap();
        if let Some(mut third) = third {
            assert!(poll_once(&mut third).is_pending());
        }
    });
}

#[test]
fn two_signals_end_two_waits() {
    explore(2, || {
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
