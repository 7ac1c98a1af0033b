//! Permits are acquired in order, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;
use matou_sync::{AcquireError, Semaphore, TryAcquireError};

use crate::support::{Task, with_deadline, yield_now};

#[test]
fn permits_are_acquired_in_the_order_of_the_requests() {
    let semaphore = Semaphore::new(0);
    let tasks = [(); 3].map(|()| Task::new());
    let mut acquires: Vec<_> = tasks.iter().map(|_| semaphore.acquire()).collect();
    tasks.iter().zip(&mut acquires).for_each(|(task, acquire)| task.assert_pending(acquire));
    semaphore.add_permits(2);
    assert_eq!(tasks.each_ref().map(Task::wakes), [1, 1, 0], "both at once");
    assert_eq!(semaphore.waiters(), 1);
    // The permits are for those two, whichever task comes first.
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    tasks[2].assert_pending(&mut acquires[2]);
    let mut acquires = acquires.into_iter();
    let permits = [0, 1].map(|task| tasks[task].assert_ready(acquires.next().unwrap()).unwrap());
    drop(permits);
    assert_eq!(tasks[2].assert_ready(acquires.next().unwrap()).unwrap().permits(), 1);
    assert_eq!((semaphore.available_permits(), semaphore.waiters()), (2, 0));
}

#[test]
fn f20_a_large_request_is_not_starved_by_small_ones() {
    let (semaphore, task) = (Semaphore::new(3), Task::new());
    let held = semaphore.try_acquire_many(2).unwrap();
    let mut large = semaphore.acquire_many(3);
    task.assert_pending(&mut large);
    let later = Task::new();
    for _ in 0..100 {
        // One permit is free, and stays reserved.
        assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
        later.assert_pending(&mut semaphore.acquire());
    }
    let mut small = semaphore.acquire();
    later.assert_pending(&mut small);
    drop(held);
    assert_eq!(later.wakes(), 0);
    let large = task.assert_ready(large).unwrap();
    later.assert_pending(&mut small);
    drop(large);
    assert!(later.assert_ready(small).is_ok());
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn a_large_request_that_is_dropped_lets_those_behind_it_pass() {
    let (semaphore, task) = (Semaphore::new(1), Task::new());
    let mut large = semaphore.acquire_many(2);
    task.assert_pending(&mut large);
    let mut small = semaphore.acquire();
    task.assert_pending(&mut small);
    let wakes = task.wakes();
    drop(large);
    assert_eq!(task.wakes(), wakes + 1);
    assert!(task.assert_ready(small).is_ok());
}

#[test]
fn m2_an_offered_request_that_is_dropped_passes_its_permits_on() {
    let (semaphore, task) = (Semaphore::new(0), Task::new());
    let [mut first, mut second, mut third] = [2, 1, 1].map(|n| semaphore.acquire_many(n));
    task.assert_pending(&mut first);
    task.assert_pending(&mut second);
    task.assert_pending(&mut third);
    semaphore.add_permits(2);
    assert_eq!(task.wakes(), 1);
    drop(first);
    assert_eq!(task.wakes(), 3, "two requests of one permit each");
    assert!(task.assert_ready(second).is_ok() && task.assert_ready(third).is_ok());
}

#[test]
fn m15_no_counter_wraps_or_reopens() {
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    let add = |amount| std::panic::catch_unwind(|| semaphore.add_permits(amount));
    assert!(add(1).is_err() && add(usize::MAX).is_err());
    // With all permits out as many can be added, so that there are twice as many at the end.
    let held = semaphore.try_acquire_many(Semaphore::MAX_PERMITS).unwrap();
    semaphore.add_permits(Semaphore::MAX_PERMITS);
    drop(held);
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
    assert!(!semaphore.is_closed());
    assert_eq!(semaphore.forget_permits(usize::MAX), Semaphore::MAX_PERMITS);
    assert!(semaphore.try_acquire_many(usize::MAX).is_err());
    assert!(std::panic::catch_unwind(|| semaphore.acquire_many(usize::MAX)).is_err());

    semaphore.add_permits(3);
    let mut permit = semaphore.try_acquire_many(2).unwrap();
    assert!(semaphore.close() && !semaphore.close());
    permit.split(1).unwrap().forget();
    drop(permit);
    assert_eq!(semaphore.available_permits(), 2);
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    assert_eq!(block_on(semaphore.acquire_many(0)).unwrap_err(), AcquireError);
}

#[test]
fn m15_permits_of_two_semaphores_do_not_merge() {
    let (one, other) = (Semaphore::new(1), Semaphore::new(1));
    let merge = || one.try_acquire().unwrap().merge(other.try_acquire().unwrap());
    assert!(std::panic::catch_unwind(merge).is_err());
    assert_eq!((one.available_permits(), other.available_permits()), (1, 1));
}

#[test]
fn b13_closing_ends_all_requests() {
    let (semaphore, task) = (Semaphore::new(0), Task::new());
    let mut acquires = [1, 2, 3].map(|amount| semaphore.acquire_many(amount));
    acquires.iter_mut().for_each(|acquire| task.assert_pending(acquire));
    semaphore.add_permits(1);
    semaphore.close();
    assert_eq!(task.wakes(), 3);
    assert!(acquires.into_iter().all(|acquire| task.assert_ready(acquire).is_err()));
    assert_eq!((semaphore.available_permits(), semaphore.waiters()), (1, 0));
}

#[test]
fn a_request_for_nothing_waits_for_nothing() {
    let (semaphore, task) = (Semaphore::new(0), Task::new());
    task.assert_pending(&mut semaphore.acquire());
    let mut waiting = semaphore.acquire();
    task.assert_pending(&mut waiting);
    assert_eq!(task.assert_ready(semaphore.acquire_many(0)).unwrap().permits(), 0);
}

#[test]
fn permits_without_waiters_are_acquired_without_the_line_again() {
    let (semaphore, task) = (Semaphore::new(1), Task::new());
    let held = semaphore.try_acquire().unwrap();
    drop(semaphore.acquire());
    let mut waiting = semaphore.acquire();
    task.assert_pending(&mut waiting);
    drop(waiting);
    drop(held);
    assert!(format!("{semaphore:?}").contains("available: 1"));
    assert!(task.assert_ready(semaphore.acquire()).is_ok());
}

#[test]
fn tasks_of_other_threads_never_have_more_than_the_permits() {
    const PERMITS: usize = 3;
    let (peak, available) = with_deadline(|| {
        let semaphore = Arc::new(Semaphore::new(PERMITS));
        let (held, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..4 {
                let (semaphore, held, peak) = (&semaphore, &held, &peak);
                scope.spawn(move || {
                    for round in 0..200 {
                        let amount = (number + round) % PERMITS + 1;
                        let permit = block_on(semaphore.acquire_many_arc(amount)).unwrap();
                        let now = held.fetch_add(amount, Ordering::SeqCst) + amount;
                        peak.fetch_max(now, Ordering::SeqCst);
                        block_on(yield_now());
                        held.fetch_sub(amount, Ordering::SeqCst);
                        drop(permit);
                        // One that is given up, at whatever point it is.
                        let _ = Task::new().poll(&mut semaphore.acquire_many(2));
                    }
                });
            }
        });
        (peak.into_inner(), semaphore.available_permits())
    });
    assert!(peak <= PERMITS, "{peak} permits were held");
    assert_eq!(available, PERMITS);
}
