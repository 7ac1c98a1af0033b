use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sys::{self, AtomicU64, Ordering, Sabotage};
use crate::waiters::{Call, Key, Waiters};

/// The waiters of a condition behind a lock, and what can be told of them without it.
///
/// Who was signalled need not lock to know: waiters are signalled in the order of their numbers,
/// so that the last number tells. Only if all have been called at some time is that not enough.
#[derive(Debug)]
pub(crate) struct Line {
    waiters: sys::Mutex<Waiters>,
    /// The number of who was signalled last. Written under the lock, as the next one.
    signalled: AtomicU64,
    /// The number of the last that was called with all the others.
    broadcast: AtomicU64,
}

impl Line {
    sys::const_constructor! {
        pub(crate) fn new() -> Self {
            Self {
                waiters: sys::Mutex::new(Waiters::new()),
                signalled: AtomicU64::new(0),
                broadcast: AtomicU64::new(0),
            }
        }
    }

    fn lock(&self) -> sys::MutexGuard<'_, Waiters> {
        // No foreign code runs under this lock. If the line itself panics it is a bug in it, which
        // the first panic has told already.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were not called, or were called with all the others and have not seen it yet.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Puts a waiter at the end. `None` if the others came with another mutex.
    pub(crate) fn push(&self, mutex_address: usize, cx: &Context<'_>) -> Option<Key> {
        let waker = cx.waker().clone();
        // The line is unlocked again at the end of this statement, before a refused waker drops.
        let pushed = self.lock().push(waker, mutex_address);
        pushed.ok()
    }

    /// Signals the first in the line. The caller wakes it.
    pub(crate) fn call_first(&self) -> Option<Waker> {
        self.call_first_of(&mut self.lock())
    }

    /// As [`call_first`](Self::call_first), unless those who wait came with another mutex.
    pub(crate) fn call_first_with(&self, mutex_address: usize) -> Option<Waker> {
        let mut waiters = self.lock();
        if !waiters.are_of(mutex_address) {
            return None;
        }
        self.call_first_of(&mut waiters)
    }

    fn call_first_of(&self, waiters: &mut Waiters) -> Option<Waker> {
        let (number, waker) = waiters.call_first()?;
        // Released, so that who sees it sees what came before the signal.
        self.signalled.store(number, Ordering::Release);
        Some(waker)
    }

    /// Calls all. The caller wakes them.
    pub(crate) fn call_all(&self) -> Vec<Waker> {
        let mut waiters = self.lock();
        // Relaxed: whoever must see it sees a later signal, which is released.
        self.broadcast.store(waiters.came(), Ordering::Relaxed);
        waiters.call_all()
    }

    /// Asks whether a waiter was called; if not, sees to it that `cx` will be woken.
    pub(crate) fn poll_call(&self, key: Key, cx: &Context<'_>) -> Poll<Call> {
        if self.was_signalled(key) {
            return Poll::Ready(Call::Signal);
        }
        {
            let mut waiters = self.lock();
            if let Some(call) = waiters.take_called(key) {
                return Poll::Ready(call);
            }
            if waiters.waker_mut(key).is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        // Clone the waker and drop the old one while nothing is locked: both are foreign code.
        let new = cx.waker().clone();
        let mut waiters = self.lock();
        let old = waiters.waker_mut(key).map(|waker| std::mem::replace(waker, new));
        let called = waiters.take_called(key);
        drop(waiters);
        drop(old);
        called.map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether a waiter was surely signalled. If not, the line knows.
    fn was_signalled(&self, key: Key) -> bool {
        let early = sys::sabotaged(Sabotage::BroadcastLookedForFirst)
            .then(|| self.broadcast.load(Ordering::Relaxed));
        let signalled = self.signalled.load(Ordering::Acquire);
        // Look for broadcasts second: one that called this waiter came before that signal.
        let broadcast = early.unwrap_or_else(|| self.broadcast.load(Ordering::Relaxed));
        broadcast < key.number && key.number <= signalled
    }

    /// Takes a waiter out that gives up. Says why it was called, if it was.
    pub(crate) fn remove(&self, key: Key) -> Option<Call> {
        // The line is unlocked again before a waker drops, which is foreign code.
        let removed = self.lock().remove(key);
        removed.ok()
    }
}
