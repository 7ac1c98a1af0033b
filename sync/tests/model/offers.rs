//! An offer that is declined is not lost, in whatever order it is declined, used and passed on.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_hooks::Offer;
use matou_sync::{Condition, Mutex, Queue};

use crate::support::host::{as_task, take_offers};
use crate::support::loom::{OwnedFuture, explore, poll_once};

fn owned_lock(mutex: &Arc<Mutex<usize>>) -> OwnedFuture<()> {
    let mutex = mutex.clone();
    Box::pin(async move { *mutex.lock().await += 1 })
}

/// Returns a future that a task of the host has polled once, and that waits.
fn enqueued<T>(mut future: OwnedFuture<T>) -> OwnedFuture<T> {
    assert!(as_task(|| poll_once(&mut future)).is_pending());
    future
}

fn take_offer() -> Offer {
    let mut offers = take_offers();
    assert_eq!(offers.len(), 1);
    offers.remove(0)
}

#[test]
fn f13_a_declined_lock_is_passed_on_to_a_waiter_that_comes_at_the_same_time() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.try_lock().unwrap();
        let set_aside = enqueued(owned_lock(&mutex));
        drop(guard);
        let offer = take_offer();
        // A newcomer locks, the waiter comes, and the newcomer unlocks: in some orders the line is
        // empty when the offer is declined.
        let guard = mutex.try_lock().unwrap();
        let waiting = thread::spawn({
            let mutex = mutex.clone();
            move || block_on(owned_lock(&mutex))
        });
        let declining = thread::spawn(move || assert!(offer.source.decline(offer.key)));
        drop(guard);
        declining.join().unwrap();
        waiting.join().unwrap();
        drop(set_aside);
        assert_eq!((mutex.waiters(), *mutex.try_lock().unwrap()), (0, 1));
        drop(take_offers());
    });
}

#[test]
fn f13_a_lock_that_is_declined_while_its_waiter_is_polled_goes_to_one_of_the_two() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.try_lock().unwrap();
        let mut first = enqueued(owned_lock(&mutex));
        let second = enqueued(owned_lock(&mutex));
        drop(guard);
        let offer = take_offer();
        as_task(|| {
            let declining = thread::spawn(move || offer.source.decline(offer.key));
            let polling =
                thread::spawn(move || poll_once(&mut first).is_pending().then_some(first));
            block_on(second);
            let declined = declining.join().unwrap();
            let first = polling.join().unwrap();
            assert!(declined || first.is_none());
            // In its second poll it has been offered the lock, or the lock is free.
            first.into_iter().for_each(block_on);
        });
        assert_eq!((mutex.waiters(), *mutex.try_lock().unwrap()), (0, 2));
        drop(take_offers());
    });
}

/// The waiter is overtaken and returns to the line while its offer is declined. The decline must
/// not set it aside then: the next unlock is for it.
#[test]
fn f13_a_decline_that_comes_too_late_does_not_set_a_waiter_aside() {
    explore(3, || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.try_lock().unwrap();
        let mut first = enqueued(owned_lock(&mutex));
        drop(guard);
        let offer = take_offer();
        let guard = mutex.try_lock().unwrap();
        assert!(as_task(|| poll_once(&mut first)).is_pending());
        let declining = thread::spawn(move || assert!(!offer.source.decline(offer.key)));
        drop(guard);
        declining.join().unwrap();
        // Its task is polled only because of the offer.
        assert_eq!(take_offers().len(), 1);
        assert!(poll_once(&mut first).is_ready());
    });
}

#[test]
fn f13_declines_keep_the_order_of_the_other_waiters() {
    explore(2, || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.try_lock().unwrap();
        let first = enqueued(owned_lock(&mutex));
        let mut second = enqueued(owned_lock(&mutex));
        let mut third = enqueued(owned_lock(&mutex));
        drop(guard);
        let offer = take_offer();
        let declining = thread::spawn(move || offer.source.decline(offer.key));
        let dropping = thread::spawn(move || drop(first));
        dropping.join().unwrap();
        declining.join().unwrap();
        // Dropped or declined, the lock went to the second, and then to the third.
        assert!(as_task(|| poll_once(&mut third)).is_pending());
        assert!(as_task(|| poll_once(&mut second)).is_ready());
        assert!(as_task(|| poll_once(&mut third)).is_ready());
        drop(take_offers());
    });
}

#[test]
fn f13_a_declined_slot_is_passed_on() {
    explore(3, || {
        let queue = Arc::new(Queue::bounded(1));
        queue.try_push(0).unwrap();
        let owned_push = |number| -> OwnedFuture<()> {
            let queue = queue.clone();
            Box::pin(async move { queue.push(number).await.unwrap() })
        };
        let set_aside = enqueued(owned_push(1));
        assert_eq!(queue.try_pop(), Ok(0));
        let offer = take_offer();
        let declining = thread::spawn(move || offer.source.decline(offer.key));
        // It takes the slot at once, or waits and is woken.
        block_on(owned_push(2));
        declining.join().unwrap();
        assert_eq!(queue.try_pop(), Ok(2));
        drop(set_aside);
    });
}

#[test]
fn f13_a_signal_that_is_declined_ends_one_wait() {
    explore(3, || {
        let shared = Arc::new((Mutex::new(false), Condition::new()));
        let owned_wait = || -> OwnedFuture<()> {
            let shared = shared.clone();
            Box::pin(async move {
                let guard = shared.0.try_lock().unwrap();
                drop(shared.1.wait(guard).await);
            })
        };
        let mut first = enqueued(owned_wait());
        let second = enqueued(owned_wait());
        assert!(shared.1.signal());
        let offer = take_offer();
        let declining = thread::spawn(move || offer.source.decline(offer.key));
        let dropping = thread::spawn(move || drop(second));
        dropping.join().unwrap();
        declining.join().unwrap();
        // The second passes it back when it is dropped, or was not there any more.
        assert!(as_task(|| poll_once(&mut first)).is_ready());
        drop(take_offers());
    });
}
