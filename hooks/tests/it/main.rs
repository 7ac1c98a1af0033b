//! The current task, its budget, and the offer that was closed last.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use matou_hooks::{
    Current, Offer, OfferSource, TaskKey, begin_operation, close_offer, current_task, poll_budget,
    replace_current,
};

/// Counts how often it was called.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn r11_a_task_is_woken_and_refused_when_its_budget_is_used_up() {
    let (count, task) = (Arc::new(Count::default()), TaskKey::from_parts(1, 7));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let before = replace_current(Current::new(task, 2));
    let polls = [(); 3].map(|()| begin_operation(&mut cx));
    assert_eq!(polls, [Poll::Ready(task), Poll::Ready(task), Poll::Pending]);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    replace_current(Current::new(task, 1));
    assert!(poll_budget(&mut cx).is_ready(), "the next poll of the task has a new budget");
    replace_current(before);
    assert_eq!(current_task(), None);
}

#[test]
fn r11_code_that_does_not_yield_gets_a_new_budget_in_the_end() {
    let mut cx = Context::from_waker(Waker::noop());
    let before = replace_current(Current::new(None, 2));
    let ready = (0..400).filter(|_| poll_budget(&mut cx).is_ready()).count();
    replace_current(before);
    assert_eq!(ready, 2 + 2 + 2 + 2, "128 refusals follow each two operations");
}

#[test]
fn code_outside_of_tasks_is_not_refused() {
    let mut cx = Context::from_waker(Waker::noop());
    assert!((0..1000).all(|_| poll_budget(&mut cx).is_ready()));
}

#[test]
fn the_panic_of_a_waker_reaches_the_caller_which_has_begun_nothing() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("waker"));
        }
    }
    let waker = Waker::from(Arc::new(Panics));
    let before = replace_current(Current::new(None, 0));
    let poll = || poll_budget(&mut Context::from_waker(&waker));
    assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
    replace_current(before);
}

struct NoOffers;

impl OfferSource for NoOffers {
    fn is_open(&self, _: u64) -> bool {
        false
    }
    fn decline(&self, _: u64) -> bool {
        false
    }
}

#[test]
fn r13_an_offer_is_known_to_be_closed_in_the_poll_that_closed_it() {
    let (source, task) = (Arc::new(NoOffers), TaskKey::from_parts(1, 7).expect("it is not zero"));
    let offer = |key| Offer::new(task, "lock", Location::caller(), key, source.clone());
    let before = replace_current(Current::new(Some(task), 128));
    close_offer(&source, 3);
    assert!(offer(3).was_just_closed() && !offer(4).was_just_closed());
    assert!(!Offer::new(task, "lock", Location::caller(), 3, Arc::new(NoOffers)).was_just_closed());
    // The source may be gone, and its address belong to another one with the same key.
    replace_current(Current::new(Some(task), 128));
    assert!(!offer(3).was_just_closed());
    replace_current(before);
}
