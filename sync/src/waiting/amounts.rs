//! Offers to waiters that request different amounts of one thing, such as permits.
//!
//! The request of a waiter is its [`Request::data`](super::Request). The offered amount stays in
//! the state of the primitive: an open offer means that no other waiter is offered that amount.
//!
//! A waiter whose request cannot be met yet keeps those behind it waiting, and newcomers as well,
//! otherwise it would starve. The available amount then counts as reserved for it, which is an
//! offer like any other: the waiter is woken, so that it is either polled, or declines and is
//! passed over. This happens at each release and for each newcomer that has to wait, as long as
//! another task could use the amount.

use super::offer::Notice;
use super::wait_list::{Locked, WaitList};

/// Whether the first waiter is woken although its request cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// It was polled just now.
    No,
    /// If there is another waiter behind it.
    ForWaiters,
    /// The caller could use what is there.
    ForNewcomer,
}

impl WaitList {
    /// Offers an amount to the waiters in the line, in order, as far as it suffices for them and
    /// for those with open offers.
    ///
    /// `available` returns the amount, and gets whether the list is empty. It runs under the lock.
    #[cold]
    pub(crate) fn offer_amount(&self, reserve: Reserve, available: impl Fn(bool) -> usize) {
        let shared = self.shared();
        loop {
            let mut locked = shared.lock();
            let amount = available(locked.waiters.is_empty());
            let fitting = locked.offer_fitting(amount);
            let is_last = fitting.is_none();
            let notice = fitting.or_else(|| locked.offer_reserved(amount, reserve));
            drop(locked);
            shared.send(notice);
            if is_last {
                return;
            }
        }
    }
}

impl Locked<'_> {
    /// Offers the first waiter the amount that it requests, if so much is not offered to others.
    fn offer_fitting(&mut self, amount: usize) -> Option<Notice> {
        let first = self.waiters.first()?;
        let rest = amount.checked_sub(self.waiters.open_data())?;
        (self.waiters.request(first).data <= rest).then(|| self.offer_to(first))
    }

    /// Offers the available amount to the first waiter, whose request cannot be met, if it keeps
    /// another one from using that amount.
    fn offer_reserved(&mut self, amount: usize, reserve: Reserve) -> Option<Notice> {
        let keeps_others = match reserve {
            Reserve::No => false,
            Reserve::ForWaiters => self.waiters.has_second(),
            Reserve::ForNewcomer => true,
        };
        if amount == 0 || self.waiters.has_open_offer() || !keeps_others {
            return None;
        }
        let first = self.waiters.first()?;
        // A waiter that no task of a host has polled never declines.
        self.waiters.request(first).task?;
        // fault: semaphore-reserves-without-offer
        Some(self.offer_to(first))
    }
}
