//! A list of waiting tasks, first in first out, in which a dropped waiter can pass its wake-up on.
//!
//! Why not an `Event`? If a listener that was notified is dropped, event-listener notifies the next
//! one, even if the first was notified together with all others; and it does not say which it was.
//! Here a waiter can read how it was woken, and its primitive decides.
//!
//! # Tickets
//!
//! Each waiter has a ticket, a number larger than those before it, and waiters leave the list in
//! that order, except those that give up. So one number, the ticket that was woken last, says
//! without a lock of every other ticket whether it was woken.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::primitives::{AtomicU64, Mutex, MutexGuard, Ordering, const_fn};

/// How a waiter was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// By [`WaitList::wake_first_if`], alone. A waiter that does not use it must pass it on.
    One,
    /// By [`WaitList::wake_all`]. It must not be passed on: later waiters must not be woken.
    All,
}

/// Identifies a waiter. Must go back to its list: either [`WaitList::poll`] returns `Ready` for it,
/// or [`WaitList::remove`] takes it out; otherwise its slot is leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterKey {
    slot: u32,
    ticket: u64,
}

/// See the documentation of the module. `T` is the primitive's data for each waiter.
#[derive(Debug)]
pub(crate) struct WaitList<T> {
    waiters: Mutex<Waiters<T>>,
    /// The last ticket that was woken alone. Written under the lock, as is the next field.
    last_woken_alone: AtomicU64,
    /// The last ticket that was issued before all were woken.
    last_woken_with_all: AtomicU64,
}

impl<T: Copy> WaitList<T> {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                waiters: Mutex::new(Waiters::new()),
                last_woken_alone: AtomicU64::new(0),
                last_woken_with_all: AtomicU64::new(0),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters<T>> {
        // The closures that the primitives pass must not panic. If one does, it panics before the
        // list was changed, so a poisoned list is intact.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of waiters, including those that [`wake_all`](Self::wake_all) has woken
    /// and that have not been polled since.
    pub(crate) fn len(&self) -> usize {
        self.lock().occupied
    }

    /// Appends a waiter, unless `admit` returns an error, which is passed on. `admit` gets the data
    /// of the first waiter, if there is one, and runs under the lock: no waiter is woken between
    /// its check and the registration.
    pub(crate) fn push_if<E>(
        &self,
        cx: &Context<'_>,
        data: T,
        admit: impl FnOnce(Option<T>) -> Result<(), E>,
    ) -> Result<WaiterKey, E> {
        // Declared before the guard, so that a waker that is not stored is dropped after unlocking.
        let waker = cx.waker().clone();
        let mut waiters = self.lock();
        admit(waiters.first())?;
        Ok(waiters.push(waker, data))
    }

    /// Removes the first waiter, if there is one and `admit` returns `true`. The caller must wake
    /// it.
    ///
    /// `admit` gets the data of the first waiter. It runs under the lock, also if the list is
    /// empty: it can take from the primitive's state what the waiter is given, or decide that a
    /// newcomer overtakes no waiter.
    #[must_use = "the waiter has to be woken"]
    pub(crate) fn wake_first_if(&self, admit: impl FnOnce(Option<T>) -> bool) -> Option<Waker> {
        let mut waiters = self.lock();
        if !admit(waiters.first()) {
            return None;
        }
        let (ticket, waker) = waiters.pop_first()?;
        // Pairs with the load in `was_woken_alone`: a waiter that learns of its wake-up there also
        // sees what the waking thread did before, and earlier writes to `last_woken_with_all`.
        self.last_woken_alone.store(ticket, Ordering::Release);
        Some(waker)
    }

    /// Wakes all waiters that are in the list, in order. The caller must call the wakers.
    #[must_use = "the waiters have to be woken"]
    pub(crate) fn wake_all(&self) -> Vec<Waker> {
        let mut waiters = self.lock();
        // Relaxed: `was_woken_alone` needs it only after it has read a later ticket in
        // `last_woken_alone`, whose store is a release.
        self.last_woken_with_all.store(waiters.tickets, Ordering::Relaxed);
        waiters.mark_all_woken()
    }

    /// Returns how the waiter was woken and frees its slot, or registers the waker of `cx`.
    pub(crate) fn poll(&self, key: WaiterKey, cx: &Context<'_>) -> Poll<Wake> {
        if self.was_woken_alone(key) {
            return Poll::Ready(Wake::One);
        }
        {
            let mut waiters = self.lock();
            match waiters.waker_mut(key) {
                None => return Poll::Ready(waiters.take_wake(key)),
                Some(waker) if waker.will_wake(cx.waker()) => return Poll::Pending,
                Some(_) => {}
            }
        }
        // Another waker than before. Cloning it and dropping the old one run foreign code, so both
        // happen without the lock.
        let new = cx.waker().clone();
        let old;
        {
            let mut waiters = self.lock();
            // Look again: the waiter may have been woken while the list was unlocked.
            let Some(waker) = waiters.waker_mut(key) else {
                return Poll::Ready(waiters.take_wake(key));
            };
            old = mem::replace(waker, new);
        }
        drop(old);
        Poll::Pending
    }

    /// Returns `true` if the waiter was woken alone. After `false`, the caller must check the list.
    fn was_woken_alone(&self, key: WaiterKey) -> bool {
        // Read `last_woken_alone` first (acquire): if this waiter was woken with all others, that
        // was before a later ticket was woken alone, and so `last_woken_with_all` already contains
        // it.
        // fault: wake-all-read-first
        let (alone, with_all) = (
            self.last_woken_alone.load(Ordering::Acquire),
            self.last_woken_with_all.load(Ordering::Relaxed),
        );
        with_all < key.ticket && key.ticket <= alone
    }

    /// Takes out a waiter that gives up. Returns how it was woken, or `None` if it was not.
    pub(crate) fn remove(&self, key: WaiterKey) -> Option<Wake> {
        // The list is unlocked at the end of this statement, before a waker is dropped.
        let removed = self.lock().remove(key);
        removed.ok()
    }
}

/// Calls all wakers, even if some of them panic; then resumes the first panic. Call it while no
/// lock is held. The iterator may lock the list, but must not panic.
pub(crate) fn wake_each(wakers: impl IntoIterator<Item = Waker>) {
    let mut first_panic = None;
    for waker in wakers {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            first_panic.get_or_insert(panic);
        }
    }
    if let Some(panic) = first_panic {
        resume_unwind(panic);
    }
}

/// The index of no slot.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
enum Slot<T> {
    /// In the list, between its neighbours `prev` and `next`.
    Waiting { waker: Waker, data: T, ticket: u64, prev: u32, next: u32 },
    /// Woken with all others, and not polled since. A waiter that is woken alone leaves its slot at
    /// once.
    WokenWithAll { ticket: u64 },
    /// Unused. `next` is the next free slot.
    Free { next: u32 },
}

/// A doubly linked list in a slab. All methods take constant time except `mark_all_woken`.
#[derive(Debug)]
struct Waiters<T> {
    slots: Vec<Slot<T>>,
    first_free: u32,
    head: u32,
    tail: u32,
    /// The last ticket that was issued.
    tickets: u64,
    /// How many slots are not free.
    occupied: usize,
}

impl<T: Copy> Waiters<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), first_free: NIL, head: NIL, tail: NIL, tickets: 0, occupied: 0 }
    }

    fn first(&self) -> Option<T> {
        match self.slots.get(self.head as usize) {
            Some(Slot::Waiting { data, .. }) => Some(*data),
            _ => None,
        }
    }

    fn push(&mut self, waker: Waker, data: T) -> WaiterKey {
        self.tickets += 1;
        let (ticket, prev) = (self.tickets, self.tail);
        let slot = self.allocate(Slot::Waiting { waker, data, ticket, prev, next: NIL });
        self.set_next(prev, slot);
        self.tail = slot;
        WaiterKey { slot, ticket }
    }

    fn pop_first(&mut self) -> Option<(u64, Waker)> {
        let slot = self.head;
        (slot != NIL).then(|| {
            self.unlink(slot);
            expect_waiting(self.free(slot))
        })
    }

    fn mark_all_woken(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.head != NIL {
            let slot = self.head;
            self.unlink(slot);
            let waiting = mem::replace(self.slot(slot), Slot::Free { next: NIL });
            let (ticket, waker) = expect_waiting(waiting);
            *self.slot(slot) = Slot::WokenWithAll { ticket };
            wakers.push(waker);
        }
        wakers
    }

    /// Returns the waker of a waiter, or `None` if it was woken.
    fn waker_mut(&mut self, key: WaiterKey) -> Option<&mut Waker> {
        match self.slot(key.slot) {
            Slot::Waiting { waker, ticket, .. } if *ticket == key.ticket => Some(waker),
            _ => None,
        }
    }

    /// Returns how a waiter was woken that has been, and frees its slot.
    fn take_wake(&mut self, key: WaiterKey) -> Wake {
        match *self.slot(key.slot) {
            Slot::WokenWithAll { ticket } if ticket == key.ticket => {
                self.free(key.slot);
                Wake::All
            }
            // The slot is free, or another waiter uses it by now.
            _ => Wake::One,
        }
    }

    /// Takes out a waiter: returns how it was woken, or its waker if it was not.
    fn remove(&mut self, key: WaiterKey) -> Result<Wake, Waker> {
        if self.waker_mut(key).is_none() {
            return Ok(self.take_wake(key));
        }
        self.unlink(key.slot);
        Err(expect_waiting(self.free(key.slot)).1)
    }

    fn slot(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.slots[slot as usize]
    }

    fn unlink(&mut self, slot: u32) {
        let &mut Slot::Waiting { prev, next, .. } = self.slot(slot) else {
            unreachable!("only waiting slots are linked");
        };
        self.set_next(prev, next);
        self.set_prev(next, prev);
    }

    /// Sets the successor of `slot`, or the head of the list if `slot` is `NIL`.
    fn set_next(&mut self, slot: u32, new: u32) {
        match slot {
            NIL => self.head = new,
            slot => {
                if let Slot::Waiting { next, .. } = self.slot(slot) {
                    *next = new;
                }
            }
        }
    }

    /// Sets the predecessor of `slot`, or the tail of the list if `slot` is `NIL`.
    fn set_prev(&mut self, slot: u32, new: u32) {
        match slot {
            NIL => self.tail = new,
            slot => {
                if let Slot::Waiting { prev, .. } = self.slot(slot) {
                    *prev = new;
                }
            }
        }
    }

    /// Stores `new` in a free slot and returns its index.
    fn allocate(&mut self, new: Slot<T>) -> u32 {
        self.occupied += 1;
        let slot = self.first_free;
        if slot == NIL {
            let index = self.slots.len() as u32;
            assert!(index != NIL, "a wait list has at most 2^32 - 1 waiters");
            self.slots.push(new);
            return index;
        }
        match mem::replace(self.slot(slot), new) {
            Slot::Free { next } => self.first_free = next,
            _ => unreachable!("the free list contains free slots only"),
        }
        slot
    }

    fn free(&mut self, slot: u32) -> Slot<T> {
        self.occupied -= 1;
        let next = mem::replace(&mut self.first_free, slot);
        mem::replace(self.slot(slot), Slot::Free { next })
    }
}

/// Returns ticket and waker of a slot that was linked.
fn expect_waiting<T>(slot: Slot<T>) -> (u64, Waker) {
    match slot {
        Slot::Waiting { waker, ticket, .. } => (ticket, waker),
        _ => unreachable!("only waiting slots are linked"),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn both_decisions_are_made_under_the_lock_even_if_the_list_is_empty() {
        let (list, cx) = (WaitList::new(), Context::from_waker(Waker::noop()));
        let is_locked = || list.waiters.try_lock().is_err();

        let mut seen = Vec::new();
        let mut wake = |admit: bool| {
            let waker = list.wake_first_if(|first| {
                seen.push((first, is_locked()));
                admit
            });
            waker.is_some()
        };
        assert!(!wake(true), "the list is empty");
        let key = list.push_if(&cx, 1, |first| if is_locked() { Ok(()) } else { Err(first) });
        let key = key.expect("the waiter is admitted");
        assert_eq!(list.push_if(&cx, 2, Err), Err(Some(1)));
        assert!(!wake(false));
        assert!(wake(true));

        assert_eq!(list.poll(key, &cx), Poll::Ready(Wake::One));
        assert_eq!(seen, [(None, true), (Some(1), true), (Some(1), true)]);
        assert_eq!(list.len(), 0);
    }
}
