//! Each offer is announced to the host, and an offer that the host declines goes to the next
//! waiter. The host of this process records the offers per thread.

#![cfg(not(any(loom, shuttle)))]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, Waker};

use matou_hooks::{Current, Host, Offer, TaskKey, replace_current};
use matou_sync::futures::{Lock, Wait};
use matou_sync::{Condition, Mutex, PopError, Queue, Semaphore};

std::thread_local! {
    static OFFERS: RefCell<Vec<Offer>> = const { RefCell::new(Vec::new()) };
}

struct TestHost;

impl Host for TestHost {
    fn on_offer(&self, offer: Offer) {
        OFFERS.with_borrow_mut(|offers| offers.push(offer));
    }
}

fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| assert!(matou_hooks::set_host(&TestHost)));
    drop(OFFERS.take());
}

/// Polls `future` as a task of the host.
fn poll<F: Future + Unpin>(task: u64, future: &mut F) -> Poll<F::Output> {
    replace_current(Current::new(TaskKey::from_parts(0, task), u16::MAX));
    let poll = Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    replace_current(Current::NONE);
    poll
}

#[track_caller]
fn assert_ready<F: Future + Unpin>(task: u64, mut future: F) -> F::Output {
    match poll(task, &mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("task {task} has to wait"),
    }
}

/// The tasks of the offers since the last call, with the offers.
fn take_offers() -> Vec<(u64, Offer)> {
    let with_task = |offer: Offer| (offer.task.into_parts().1, offer);
    OFFERS.take().into_iter().map(with_task).collect()
}

/// The only offer since the last call.
#[track_caller]
fn take_offer(task: u64) -> Offer {
    let mut offers = take_offers();
    assert_eq!(offers.iter().map(|(task, _)| *task).collect::<Vec<_>>(), [task]);
    offers.remove(0).1
}

fn decline(offer: &Offer) -> bool {
    offer.source.decline(offer.key)
}

fn is_open(offer: &Offer) -> bool {
    offer.source.is_open(offer.key)
}

/// Locks that wait, for the tasks 1, 2, ..
fn enqueued<const N: usize>(mutex: &Mutex<u32>) -> [Lock<'_, u32>; N] {
    let mut task = 0;
    [(); N].map(|()| {
        task += 1;
        let mut lock = mutex.lock();
        assert!(poll(task, &mut lock).is_pending());
        lock
    })
}

#[test]
fn an_unlock_is_offered_to_the_task_that_polled_the_first_waiter_last() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let (mut first, line) = (mutex.lock(), line!());
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(7, &mut first).is_pending());
    let mut second = mutex.lock();
    assert!(poll(2, &mut second).is_pending());
    drop(guard);
    let offer = take_offer(7);
    assert_eq!((offer.at.file(), offer.at.line()), (file!(), line));
    assert!(is_open(&offer));
    drop(assert_ready(7, first));
    assert!(!is_open(&offer) && !decline(&offer), "the offer was taken");
    take_offer(2);
}

#[test]
fn a_waiter_of_no_task_is_woken_without_an_announcement() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let mut lock = mutex.lock();
    assert!(poll(0, &mut lock).is_pending());
    drop(guard);
    assert!(take_offers().is_empty());
    drop(assert_ready(0, lock));
}

#[test]
fn m4_a_waiter_of_no_task_takes_a_free_lock_in_any_poll() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let (mut set_aside, mut polled) = (mutex.lock(), mutex.lock());
    assert!(poll(0, &mut set_aside).is_pending());
    assert!(poll(0, &mut polled).is_pending());
    drop(guard);
    // The first was notified, but only the second is polled, as in Oxide RFD 609.
    drop(assert_ready(0, polled));
    drop(assert_ready(0, set_aside));
}

#[test]
fn f13_a_declined_lock_goes_to_the_next_waiter_and_its_waiter_keeps_its_place() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let [mut first, second, third] = enqueued(&mutex);
    drop(guard);
    let to_first = take_offer(1);
    assert!(decline(&to_first));
    assert!(!decline(&to_first) && !is_open(&to_first));
    take_offer(2);
    let guard = assert_ready(2, second);

    // It is polled before the next unlock: then it is the first again.
    assert!(poll(1, &mut first).is_pending());
    drop(guard);
    take_offer(1);
    drop(assert_ready(1, first));
    take_offer(3);
    drop(assert_ready(3, third));
}

#[test]
fn f13_a_waiter_that_has_declined_is_offered_nothing_until_it_is_polled() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let [first, second, third] = enqueued(&mutex);
    drop(guard);
    assert!(decline(&take_offer(1)));
    take_offer(2);
    drop(assert_ready(2, second));
    take_offer(3);
    drop(assert_ready(3, third));
    assert!(take_offers().is_empty());
    assert_eq!(mutex.waiters(), 1);
    drop(first);
    assert_eq!(mutex.waiters(), 0);
}

#[test]
fn f13_a_lock_that_no_other_task_waits_for_is_free_once_it_is_declined() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let [mut first] = enqueued(&mutex);
    drop(guard);
    assert!(decline(&take_offer(1)));
    // A later waiter, and a later unlock, that the open offer would have held back.
    let guard = mutex.try_lock().expect("the lock is free");
    let mut second = mutex.lock();
    assert!(poll(2, &mut second).is_pending());
    drop(guard);
    take_offer(2);
    drop(assert_ready(2, second));
    // It needs no offer: it looks at the lock when it is polled.
    assert!(poll(1, &mut first).is_ready());
}

#[test]
fn f13_a_declined_waiter_that_was_overtaken_often_does_not_hold_newcomers_back() {
    begin();
    let mutex = Mutex::new(0);
    let mut guard = mutex.try_lock();
    let [mut first] = enqueued(&mutex);
    for _ in 0..5 {
        drop(guard);
        guard = mutex.try_lock();
        assert!(guard.is_some() && poll(1, &mut first).is_pending());
    }
    drop(guard);
    assert!(mutex.try_lock().is_none(), "the waiter is starved");
    let (_, offer) = take_offers().pop().expect("an offer");
    assert!(decline(&offer));
    let guard = mutex.try_lock().expect("the waiter is set aside");
    // Polled again, it has its old rights.
    assert!(poll(1, &mut first).is_pending());
    drop(guard);
    assert!(mutex.try_lock().is_none());
    drop(assert_ready(1, first));
}

#[test]
fn an_offer_that_lost_against_a_newcomer_cannot_be_declined() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let [mut first, _second] = enqueued(&mutex);
    drop(guard);
    let offer = take_offer(1);
    let guard = mutex.try_lock();
    assert!(poll(1, &mut first).is_pending());
    assert!(!is_open(&offer) && !decline(&offer));
    drop(guard);
    take_offer(1);
}

#[test]
fn an_offer_outlives_its_primitive() {
    begin();
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let [lock] = enqueued(&mutex);
    drop(guard);
    let offer = take_offer(1);
    std::mem::forget(lock);
    drop(mutex);
    assert!(is_open(&offer) && decline(&offer));
}

#[test]
fn f13_b9_a_declined_slot_goes_to_the_next_push() {
    begin();
    let queue = Queue::bounded(1);
    queue.try_push(0).unwrap();
    let (mut first, mut second) = (queue.push(1), queue.push(2));
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(2, &mut second).is_pending());
    assert_eq!(queue.try_pop(), Ok(0));
    assert!(decline(&take_offer(1)));
    take_offer(2);
    assert_eq!(assert_ready(2, second), Ok(()));
    assert!(poll(1, &mut first).is_pending());
    assert_eq!(queue.try_pop(), Ok(2));
    take_offer(1);
    assert_eq!(assert_ready(1, first), Ok(()));
    assert_eq!((queue.try_pop(), queue.len()), (Ok(1), 0));
}

#[test]
fn f13_a_declined_value_goes_to_the_next_pop() {
    begin();
    let queue = Queue::unbounded();
    let (mut first, mut second) = (queue.pop(), queue.pop());
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(2, &mut second).is_pending());
    queue.try_push('a').unwrap();
    assert!(decline(&take_offer(1)));
    queue.try_push('b').unwrap();
    let offered: Vec<u64> = take_offers().iter().map(|(task, _)| *task).collect();
    assert_eq!(offered, [2], "one of the two pops is set aside");
    assert_eq!(assert_ready(2, second), Ok('a'));
    // The value that was left is there for whichever task looks first.
    assert_eq!(assert_ready(1, first), Ok('b'));
}

#[test]
fn b13_closing_wakes_a_pop_that_has_declined() {
    begin();
    let queue = Queue::<u8>::unbounded();
    let (mut first, mut second) = (queue.pop(), queue.pop());
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(2, &mut second).is_pending());
    queue.try_push(1).unwrap();
    assert!(decline(&take_offer(1)));
    queue.close();
    assert_eq!(assert_ready(2, second), Ok(1));
    assert_eq!(assert_ready(1, first), Err(PopError));
}

/// The waits of tasks 1 and 2. The first was signalled, and its offer declined.
fn signalled_waits<'a>(mutex: &'a Mutex<i32>, changed: &'a Condition) -> [Wait<'a, 'a, i32>; 2] {
    let waits = [1, 2].map(|task| {
        let mut wait = changed.wait(mutex.try_lock().unwrap());
        assert!(poll(task, &mut wait).is_pending());
        wait
    });
    assert!(changed.signal());
    assert!(decline(&take_offer(1)));
    waits
}

#[test]
fn f13_a_declined_signal_ends_the_wait_of_the_next() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let [mut first, mut second] = signalled_waits(&mutex, &changed);
    take_offer(2);
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(2, &mut second).is_ready());
    assert!(changed.signal());
    take_offer(1);
    assert!(poll(1, &mut first).is_ready());
}

#[test]
fn f13_a_signal_that_no_other_task_waits_for_stays_with_its_waiter() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let mut first = changed.wait(mutex.try_lock().unwrap());
    assert!(poll(1, &mut first).is_pending());
    assert!(changed.signal());
    assert!(!decline(&take_offer(1)));
    // A later wait is not ended by it.
    let mut late = changed.wait(mutex.try_lock().unwrap());
    assert!(poll(2, &mut late).is_pending());
    assert!(poll(1, &mut first).is_ready());
    assert!(poll(2, &mut late).is_pending());
}

#[test]
fn f13_a_signal_goes_to_a_wait_that_has_declined_if_there_is_no_other() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let [mut first, mut second] = signalled_waits(&mutex, &changed);
    assert!(poll(2, &mut second).is_ready());
    drop(take_offers());
    // The first is set aside. If this signal were lost, it would wait for ever once it is polled.
    assert!(changed.signal());
    take_offer(1);
    assert!(poll(1, &mut first).is_ready());
}

#[test]
fn a_broadcast_is_no_offer_and_ends_declined_waits_as_well() {
    begin();
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let mut waits = signalled_waits(&mutex, &changed);
    assert_eq!(changed.broadcast(), 1, "the second has its signal already");
    drop(take_offers());
    for (task, wait) in (1..).zip(&mut waits) {
        assert!(poll(task, wait).is_ready());
    }
    assert!(take_offers().is_empty());
}

#[test]
fn f13_permits_that_a_request_declines_go_to_the_next() {
    begin();
    let semaphore = Semaphore::new(0);
    let [mut first, mut second, mut third] = [2, 1, 1].map(|n| semaphore.acquire_many(n));
    assert!(poll(1, &mut first).is_pending());
    assert!(poll(2, &mut second).is_pending());
    assert!(poll(3, &mut third).is_pending());
    semaphore.add_permits(2);
    assert!(decline(&take_offer(1)));
    take_offer(2);
    let permit = assert_ready(2, second).unwrap();
    take_offer(3);
    // The first is polled again, and is served before the third returns its permit.
    assert!(poll(1, &mut first).is_pending());
    let third = assert_ready(3, third).unwrap();
    drop((permit, third));
    take_offer(1);
    assert!(assert_ready(1, first).is_ok());
}

/// One permit is free, and reserved for the large request.
#[test]
fn f13_a_large_request_that_is_set_aside_keeps_no_newcomer_waiting() {
    begin();
    let semaphore = Semaphore::new(1);
    let mut large = semaphore.acquire_many(2);
    assert!(poll(1, &mut large).is_pending());
    assert!(take_offers().is_empty(), "no other task could use the permit");
    let mut small = semaphore.acquire();
    assert!(poll(2, &mut small).is_pending());
    let offer = take_offer(1);
    // It is polled, and still has to wait: no further offer, or its task would never come to rest.
    assert!(poll(1, &mut large).is_pending());
    assert!(!is_open(&offer) && take_offers().is_empty());
    assert!(poll(2, &mut small).is_pending());
    // It is not polled any more when the next newcomer comes, here one that does not wait.
    assert!(semaphore.try_acquire().is_err());
    assert!(decline(&take_offer(1)));
    take_offer(2);
    assert!(assert_ready(2, small).is_ok());
    assert!(semaphore.try_acquire().is_ok(), "a request that has declined bars no newcomer");
    semaphore.add_permits(1);
    assert!(assert_ready(1, large).is_ok());
}
