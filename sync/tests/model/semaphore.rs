//! No permit is lost and no request waits while there is enough for it.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::Semaphore;

use crate::support::host::{as_task, take_offers};
use crate::support::loom::{OwnedFuture, explore, poll_once};

/// A future that acquires permits and returns them at once.
fn owned_acquire(semaphore: &Arc<Semaphore>, amount: usize) -> OwnedFuture<()> {
    let semaphore = semaphore.clone();
    Box::pin(async move { drop(semaphore.acquire_many(amount).await.unwrap()) })
}

#[test]
fn a_request_does_not_wait_while_there_is_a_permit() {
    explore(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let adding = thread::spawn({
            let semaphore = semaphore.clone();
            move || semaphore.add_permits(1)
        });
        drop(block_on(semaphore.acquire()).unwrap());
        adding.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_large_request_gets_what_two_others_return() {
    explore(2, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let returning = [(); 2].map(|()| {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(semaphore.try_acquire()))
        });
        drop(block_on(semaphore.acquire_many(2)).unwrap());
        returning.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((semaphore.available_permits(), semaphore.waiters()), (2, 0));
    });
}

#[test]
fn m2_a_large_request_that_is_dropped_bars_no_small_one() {
    explore(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let mut large = owned_acquire(&semaphore, 2);
        let mut small = owned_acquire(&semaphore, 1);
        assert!(poll_once(&mut large).is_pending());
        assert!(poll_once(&mut small).is_pending());
        let adding = thread::spawn({
            let semaphore = semaphore.clone();
            move || semaphore.add_permits(1)
        });
        let dropping = thread::spawn(move || drop(large));
        block_on(small);
        adding.join().unwrap();
        dropping.join().unwrap();
        assert_eq!((semaphore.available_permits(), semaphore.waiters()), (1, 0));
    });
}

#[test]
fn f13_permits_that_a_large_request_declines_go_to_a_small_one() {
    explore(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let mut large = owned_acquire(&semaphore, 2);
        assert!(as_task(|| poll_once(&mut large)).is_pending());
        semaphore.add_permits(2);
        let mut offers = take_offers();
        let offer = offers.pop().expect("the request can be met");
        let declining = thread::spawn(move || assert!(offer.source.decline(offer.key)));
        block_on(owned_acquire(&semaphore, 1));
        declining.join().unwrap();
        assert!(poll_once(&mut large).is_ready());
        assert_eq!((semaphore.available_permits(), semaphore.waiters()), (2, 0));
        drop(take_offers());
    });
}

#[test]
fn f13_the_rest_of_declined_permits_goes_to_a_third_request() {
    explore(2, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let mut large = owned_acquire(&semaphore, 2);
        assert!(as_task(|| poll_once(&mut large)).is_pending());
        semaphore.add_permits(2);
        let offer = take_offers().pop().expect("the request can be met");
        let acquiring = thread::spawn({
            let semaphore = semaphore.clone();
            move || block_on(semaphore.acquire()).unwrap().forget()
        });
        let declining = thread::spawn(move || offer.source.decline(offer.key));
        block_on(semaphore.acquire()).unwrap().forget();
        acquiring.join().unwrap();
        assert!(declining.join().unwrap());
        drop((large, take_offers()));
        assert_eq!((semaphore.available_permits(), semaphore.waiters()), (0, 0));
    });
}

#[test]
fn f13_a_large_request_that_is_set_aside_keeps_no_small_one_waiting() {
    explore(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let mut large = owned_acquire(&semaphore, 2);
        assert!(as_task(|| poll_once(&mut large)).is_pending());
        let mut small = owned_acquire(&semaphore, 1);
        assert!(poll_once(&mut small).is_pending());
        let offer = take_offers().pop().expect("the permit is reserved for the large request");
        let declining = thread::spawn(move || offer.source.decline(offer.key));
        block_on(small);
        assert!(declining.join().unwrap());
        drop((large, take_offers()));
        assert_eq!((semaphore.available_permits(), semaphore.waiters()), (1, 0));
    });
}
