//! The wait list of a primitive: see the documentation of the parent module.

// std's atomic also under loom and shuttle: loom does not see that `OnceLock` publishes it, and the
// number decides about fairness only.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use matou_hooks::TaskKey;

use super::offer::{Notice, drop_waker};
use super::waiters::{Entry, Request, State, WaiterKey, Waiters};
use crate::locks::{Guard, assert_none_held, clone_waker, lock};
use crate::primitives::{Mutex, const_fn};

/// The operation that waits in a list, and its consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lock,
    Push,
    Pop,
    Signal,
    Acquire,
    Barrier,
    Trigger,
    Computation,
    Close,
}

impl Kind {
    /// Whether newcomers never overtake a waiter, because a later one might request less and be
    /// served at the cost of an earlier one.
    fn is_strict(self) -> bool {
        // fault: semaphore-newcomers-overtake
        self == Kind::Acquire
    }

    /// Whether a waiter was given what it waits for when it was woken, so that it does not look for
    /// it. Such an offer is not lost if no other waiter can take it: it stays with its waiter.
    pub(super) fn is_given(self) -> bool {
        self == Kind::Signal
    }

    /// The name of the operation, for reports.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Kind::Lock => "lock",
            Kind::Push => "push",
            Kind::Pop => "pop",
            Kind::Signal => "condition",
            Kind::Acquire => "acquire",
            Kind::Barrier => "barrier",
            Kind::Trigger => "trigger",
            Kind::Computation => "computation",
            Kind::Close => "closed",
        }
    }

    /// Whether an offer to one waiter can be passed on to another one.
    pub(super) fn can_pass(self, from: usize, to: usize) -> bool {
        // Waiters with another mutex began to wait after the signal, and for something else.
        self != Kind::Signal || from == to
    }
}

/// Why a waiter that is polled may take what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It was offered that.
    Offered,
    /// It was released with all others.
    Released,
    /// Like a newcomer: it must leave this many items to waiters that are starved.
    Newcomer { reserved: usize },
}

impl Turn {
    /// How many items the waiter must leave to others.
    pub(crate) fn reserved(self) -> usize {
        match self {
            Turn::Offered | Turn::Released => 0,
            Turn::Newcomer { reserved } => reserved,
        }
    }
}

/// See the documentation of the module.
#[derive(Debug)]
pub(crate) struct WaitList {
    kind: Kind,
    /// Allocated when a task first waits: a primitive that never makes a task wait needs no memory,
    /// and its constructor is `const`. In an `Arc`, because an offer can be declined after the
    /// primitive was dropped.
    shared: OnceLock<Arc<Shared>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kind: Kind,
    waiters: Mutex<Waiters>,
    /// A copy of `Waiters::starved`, for newcomers. Written under the lock.
    starved: AtomicUsize,
    pub(super) this: Weak<Shared>,
}

impl WaitList {
    const_fn! {
        pub(crate) fn new(kind: Kind) -> Self {
            Self { kind, shared: OnceLock::new() }
        }
    }

    /// Both sides come here, the waiter and the task that wakes it, so the list is visible to both
    /// whichever of them is first.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.shared.get_or_init(|| {
            Arc::new_cyclic(|this| Shared {
                kind: self.kind,
                waiters: Mutex::new(Waiters::new()),
                starved: AtomicUsize::new(0),
                this: Weak::clone(this),
            })
        })
    }

    /// The list for a task that wakes waiters. `None` if no task has ever waited for a signal: a
    /// signal that has to be seen by a waiter comes after its registration. In the other primitives
    /// a count says that there is a waiter, but does not make the list visible.
    fn shared_if_used(&self) -> Option<&Arc<Shared>> {
        if self.kind == Kind::Signal { self.shared.get() } else { Some(self.shared()) }
    }

    /// Returns the number of waiters to which no offer is open, including those that were released
    /// and not polled since.
    pub(crate) fn len(&self) -> usize {
        self.shared.get().map_or(0, |shared| shared.lock().waiters.len())
    }

    /// Returns how many items a newcomer must leave to starved waiters. One load, or two.
    ///
    /// Relaxed: the number decides about fairness only. A newcomer that finds it outdated overtakes
    /// a waiter once more, or waits where it need not have: then [`enqueue`](Self::enqueue) reads
    /// the exact number under the lock.
    #[inline]
    pub(crate) fn reserved(&self) -> usize {
        self.shared.get().map_or(0, |shared| shared.starved.load(Ordering::Relaxed))
    }

    /// Calls `attempt` with the number of items that a newcomer must leave to starved waiters. It
    /// runs under the lock: two newcomers do not both take the last item that is not reserved.
    pub(crate) fn as_newcomer<R>(&self, attempt: impl FnOnce(usize) -> R) -> R {
        let locked = self.shared().lock();
        attempt(locked.waiters.starved)
    }

    /// Appends a waiter to the line, unless `attempt` returns a result, which is passed on.
    ///
    /// `attempt` gets the data of the first waiter, and the number of items that it must leave to
    /// starved waiters. It runs under the lock: nothing is offered between its look at the state of
    /// the primitive and the registration.
    ///
    /// # Panics
    ///
    /// Panics, before it calls `attempt`, if there is no room for another waiter.
    pub(crate) fn enqueue<R>(
        &self,
        cx: &Context<'_>,
        request: Request,
        attempt: impl FnOnce(Option<usize>, usize) -> Option<R>,
    ) -> Result<WaiterKey, R> {
        let waker = clone_waker(cx.waker());
        let mut locked = self.shared().lock();
        let waiters = &mut locked.waiters;
        waiters.assert_room();
        let first = waiters.first().or_else(|| waiters.first_declined());
        let first = first.map(|slot| waiters.request(slot).data);
        match attempt(first, waiters.starved) {
            Some(result) => {
                drop(locked);
                drop_waker(Some(waker));
                Err(result)
            }
            None => Ok(waiters.insert(request, waker, self.kind.is_strict())),
        }
    }

    /// Polls a waiter. If it may take what it waits for, `attempt` tries that, under the lock.
    /// `Ready` has its result; the waiter is then out of the list. Otherwise the waiter is in its
    /// place in the line and its waker is registered. `task` is the task that polls.
    pub(crate) fn poll<R>(
        &self,
        key: WaiterKey,
        task: Option<TaskKey>,
        cx: &Context<'_>,
        attempt: impl FnMut(Turn) -> Option<R>,
    ) -> Poll<R> {
        self.poll_with(key, task, cx, None, attempt)
    }

    /// Like [`poll`](Self::poll), with a clone of the waker if the attempt will probably fail: then
    /// the list is locked only once.
    pub(crate) fn poll_with<R>(
        &self,
        key: WaiterKey,
        task: Option<TaskKey>,
        cx: &Context<'_>,
        mut new_waker: Option<Waker>,
        mut attempt: impl FnMut(Turn) -> Option<R>,
    ) -> Poll<R> {
        // Cloning a waker and dropping one run foreign code, so both happen without the lock.
        let shared = self.shared();
        loop {
            let mut locked = shared.lock();
            let waiters = &mut locked.waiters;
            let starved = waiters.starved;
            let entry = waiters.get(key);
            entry.request.task = task;
            if let Some(offer) = entry.open_offer(key) {
                matou_hooks::close_offer(shared, offer);
            }
            if let Some(turn) = turn(entry, starved)
                && let Some(result) = attempt(turn)
            {
                let removed = waiters.remove(key);
                drop(locked);
                drop_waker(removed.waker);
                drop_waker(new_waker);
                return Poll::Ready(result);
            }
            // From here on the waiter can be offered something again. If that happens while the
            // list is unlocked below, there is no waker to call, and the next round notices it.
            waiters.wait_again(key);
            let entry = waiters.get(key);
            if entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if let Some(waker) = new_waker.take() {
                let old = entry.waker.replace(waker);
                drop(locked);
                assert_none_held();
                drop(old);
                return Poll::Pending;
            }
            drop(locked);
            new_waker = Some(clone_waker(cx.waker()));
        }
    }

    /// Takes out a waiter that gives up. If it was offered something, that is passed on.
    pub(crate) fn remove(&self, key: WaiterKey) {
        let shared = self.shared();
        let mut locked = shared.lock();
        let removed = locked.waiters.remove(key);
        // fault: dropped-waiter-passes-broadcast-on
        let notice = if removed.offer.is_some() {
            // fault: dropped-waiter-keeps-offer
            locked.pass_on(removed.data)
        } else {
            None
        };
        // fault: waker-dropped-under-the-list
        drop(locked);
        if let Some(offer) = removed.offer {
            matou_hooks::close_offer(shared, offer);
        }
        drop_waker(removed.waker);
        shared.send(notice);
    }

    /// Offers what a waiter with this data has received, and not used, to the next one.
    pub(crate) fn pass_on(&self, data: usize) {
        let notice = self.shared().lock().pass_on(data);
        self.shared().send(notice);
    }

    /// Offers something to the first waiter in the line, and wakes it. Returns whether there was
    /// one.
    ///
    /// # Panics
    ///
    /// Panics if the waker does and the operation is a signal, see [`Shared::send`].
    #[cold]
    pub(crate) fn offer(&self) -> bool {
        let Some(shared) = self.shared_if_used() else { return false };
        let notice = shared.lock().offer_next();
        let offered = notice.is_some();
        shared.send(notice);
        offered
    }

    /// Like [`offer`](Self::offer), but does nothing while an offer is open. For primitives that
    /// only one task can have: one woken waiter is enough to take it.
    #[cold]
    pub(crate) fn offer_unless_open(&self) {
        let shared = self.shared();
        let notice = {
            let mut locked = shared.lock();
            if locked.waiters.has_open_offer() { None } else { locked.offer_next() }
        };
        shared.send(notice);
    }

    /// Releases all waiters, except those with an open offer, which were woken already. Returns
    /// their number.
    ///
    /// # Panics
    ///
    /// Panics if a waker does and the operation is a signal, after all others have been called.
    #[cold]
    pub(crate) fn release_all(&self) -> usize {
        let Some(shared) = self.shared_if_used() else { return 0 };
        let (released, wakers) = shared.lock().waiters.release_all();
        shared.wake_all(wakers);
        released
    }
}

/// Returns whether a waiter that is polled may take what it waits for.
fn turn(entry: &Entry, starved: usize) -> Option<Turn> {
    let reserved = starved - usize::from(entry.holds_back());
    match entry.state {
        State::Offered => Some(Turn::Offered),
        State::Released => Some(Turn::Released),
        // A waiter that has declined has an old ticket, and no offer is on its way to it.
        State::Declined => Some(Turn::Newcomer { reserved }),
        // No host declines offers that were made to set-aside waiters before this one. So a waiter
        // that is polled does not rely on being offered something.
        State::Waiting if entry.request.task.is_none() => Some(Turn::Newcomer { reserved }),
        State::Waiting | State::Free => None,
    }
}

/// The locked state of a list.
pub(super) struct Locked<'a> {
    shared: &'a Shared,
    starved_before: usize,
    pub(super) waiters: Guard<'a, Waiters>,
}

impl Shared {
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        // The closures that the primitives pass must not panic. If one does, it panics before the
        // list was changed, so a poisoned list is intact.
        let waiters = lock(&self.waiters);
        Locked { shared: self, starved_before: waiters.starved, waiters }
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.waiters.starved != self.starved_before {
            self.shared.starved.store(self.waiters.starved, Ordering::Relaxed);
        }
    }
}

impl Locked<'_> {
    /// Offers something to the first waiter in the line.
    pub(super) fn offer_next(&mut self) -> Option<Notice> {
        let slot = self.next()?;
        Some(self.offer_to(slot))
    }

    /// Offers what a waiter with this data has not used.
    fn pass_on(&mut self, data: usize) -> Option<Notice> {
        let slot = self.next()?;
        let can_pass = self.shared.kind.can_pass(data, self.waiters.request(slot).data);
        can_pass.then(|| self.offer_to(slot))
    }

    /// The next waiter that is offered something. A signal goes to a waiter that has declined if no
    /// other one waits, because that waiter could not find it later.
    fn next(&self) -> Option<u32> {
        let declined = || self.waiters.first_declined().filter(|_| self.shared.kind.is_given());
        self.waiters.first().or_else(declined)
    }

    pub(super) fn offer_to(&mut self, slot: u32) -> Notice {
        let Request { task, at, .. } = self.waiters.request(slot);
        let (waker, key) = self.waiters.offer(slot);
        Notice { waker, task, at, key }
    }
}
