//! Waking a waiter, announcing an offer to the host, and declining it on behalf of the waiter.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::{mem, thread};

use matou_hooks::{Offer, OfferSource, TaskKey};

use super::wait_list::{Kind, Shared};
use crate::locks::assert_none_held;

impl Shared {
    /// Wakes a waiter, if there is one.
    ///
    /// # Panics
    ///
    /// If the waker panics, a signal continues the panic: it has been delivered. A guard that
    /// unlocks and a push or pop that has succeeded do not, because the caller would lose more than
    /// the panic is worth; the panic hook has reported it.
    pub(super) fn send(self: &Arc<Self>, notice: Option<Notice>) {
        if let Some(payload) = notice.and_then(|notice| notice.deliver(self)) {
            if self.kind == Kind::Signal { resume(payload) } else { forget(payload) }
        }
    }

    /// Calls all wakers, even if some of them panic; then continues the first panic as
    /// [`send`](Self::send) does.
    pub(super) fn wake_all(&self, wakers: Vec<Waker>) {
        let panics = wakers.into_iter().filter_map(call_waker);
        if let Some(payload) = panics.reduce(keep_first) {
            if self.kind == Kind::Signal { resume(payload) } else { forget(payload) }
        }
    }
}

impl OfferSource for Shared {
    fn is_open(&self, key: u64) -> bool {
        self.lock().waiters.find_open(key).is_some()
    }

    fn decline(&self, key: u64) -> bool {
        let mut locked = self.lock();
        // Under the lock the offer is either used already, or can no longer be used.
        let Some(slot) = locked.waiters.find_open(key) else { return false };
        let data = locked.waiters.request(slot).data;
        let notice = if self.kind.is_given() {
            // Not to one that has declined: the two would pass the signal to each other for ever.
            let first = locked.waiters.first();
            let heir =
                first.filter(|&first| self.kind.can_pass(data, locked.waiters.request(first).data));
            // fault: declined-signal-lost
            let Some(heir) = heir else { return false };
            locked.waiters.decline(slot);
            Some(locked.offer_to(heir))
        } else {
            // If no other task waits, the next one finds what was declined in the state of the
            // primitive. The offer must not stay open: it would hold later ones back.
            // fault: decline-to-an-empty-line
            locked.waiters.decline(slot);
            // fault: decline-lost
            locked.offer_next()
        };
        drop(locked);
        if let (Some(notice), Some(this)) = (notice, self.this.upgrade()) {
            // The host does not expect a panic. The panic hook has reported it.
            notice.deliver(&this).into_iter().for_each(forget);
        }
        true
    }
}

type Payload = Box<dyn std::any::Any + Send>;

/// A waiter that has to be woken, which is done without a lock: wakers are foreign code.
#[must_use = "the waiter has to be woken"]
pub(super) struct Notice {
    pub(super) waker: Option<Waker>,
    /// The task that polled the waiter last.
    pub(super) task: Option<TaskKey>,
    pub(super) at: &'static Location<'static>,
    /// Of the offer.
    pub(super) key: u64,
}

impl Notice {
    /// Wakes the waiter and announces the offer to the host. Returns the payload if the waker
    /// panics.
    fn deliver(self, shared: &Arc<Shared>) -> Option<Payload> {
        let Notice { waker, task, at, key } = self;
        let panic = waker.and_then(call_waker);
        // After the wake-up: a combinator polls only those of its futures that were woken. If the
        // host knew of the offer earlier, it could decline it after a poll of the task in which the
        // future was not polled because its wake-up was still to come.
        if let Some(task) = task {
            let source: Arc<dyn OfferSource> = Arc::clone(shared) as _;
            let operation = shared.kind.operation();
            // fault: offer-not-announced
            matou_hooks::on_offer(Offer::new(task, operation, at, key, source));
        }
        panic
    }
}

fn call_waker(waker: Waker) -> Option<Payload> {
    assert_none_held();
    catch_unwind(AssertUnwindSafe(|| waker.wake())).err()
}

/// Drops a waker without a lock. A panic goes no further: the caller would lose more than the panic
/// is worth. The panic hook has reported it.
#[inline]
pub(super) fn drop_waker(waker: Option<Waker>) {
    if waker.is_some() {
        assert_none_held();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(waker))) {
            forget(payload);
        }
    }
}

/// Drops a payload, unless its destructor is unknown code that might panic as well.
fn forget(payload: Payload) {
    if !payload.is::<&'static str>() && !payload.is::<String>() {
        mem::forget(payload);
    }
}

fn keep_first(first: Payload, other: Payload) -> Payload {
    forget(other);
    first
}

/// Continues a panic of a waker. If the thread is panicking already, a second panic would abort the
/// process.
fn resume(payload: Payload) {
    if thread::panicking() {
        forget(payload);
    } else {
        resume_unwind(payload);
    }
}
