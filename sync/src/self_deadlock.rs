//! Which task holds a mutex, and the check whether a task waits for a mutex that it holds.
//!
//! This crate has no notion of tasks, only the waker that a future is polled with. A task is
//! usually polled with the same waker each time, so the holder of a lock stores the identity of its
//! waker in a [`HolderNote`], and a lock that has to wait compares it with its own waker. The note
//! is not synchronised with the lock and serves diagnosis only. The check reads it twice: if the
//! task waits for itself, no other task can change the note in between.

use std::fmt;
use std::panic::Location;
use std::ptr;
// std's types also under loom and shuttle: the note decides nothing, and modelling it would only
// multiply the schedules to explore.
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{PoisonError, RwLock};
use std::task::{RawWakerVTable, Waker};

/// The function that is called for each suspicion.
type Hook = fn(&SelfDeadlock);

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// A lock that waits for a mutex which its own task probably holds.
///
/// Passed to the hook of [`set_self_deadlock_hook`] when a [`Lock`](crate::futures::Lock) has to
/// wait while the mutex is held through a lock that was polled with the same waker. This is a
/// suspicion, not an error: `join!(a, b)` polls both futures with the waker of their task, and `a`
/// may well release what `b` waits for.
///
/// The check finds nothing if the wakers differ, as for the children of a `FuturesUnordered`; if
/// they have no data to compare, as [`Waker::noop`]; or if the mutex was locked by `try_lock`.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex as StdMutex;
///
/// use futures::{executor::block_on, join};
/// use matou_sync::{Mutex, SelfDeadlock, set_self_deadlock_hook};
///
/// static SEEN: StdMutex<Vec<SelfDeadlock>> = StdMutex::new(Vec::new());
/// set_self_deadlock_hook(Some(|found| SEEN.lock().unwrap().push(found.clone())));
///
/// block_on(async {
///     let mutex = Mutex::new(0);
///     let guard = mutex.lock().await;
///     // Legal, since the same task releases the guard; but reported.
///     join!(async { *mutex.lock().await += 1 }, async { drop(guard) });
/// });
///
/// let seen = SEEN.lock().unwrap();
/// assert_eq!(seen.len(), 1);
/// assert_eq!(seen[0].waiting_at.line(), seen[0].locked_at.line() + 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfDeadlock {
    /// The call that returned the guard which holds the mutex.
    pub locked_at: &'static Location<'static>,
    /// The call that waits for the mutex.
    pub waiting_at: &'static Location<'static>,
}

impl fmt::Display for SelfDeadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "possible self-deadlock: the task waits at {} for a mutex that it locked at {}",
            self.waiting_at, self.locked_at
        )
    }
}

/// Sets the function that is called for each [`SelfDeadlock`], and returns the previous one.
///
/// There is one hook per process. The waiting task calls it, at most once for each lock. By default
/// there is none: this crate prints nothing.
///
/// # Panics
///
/// A panic of the hook unwinds out of the poll of the lock; the mutex remains usable.
///
/// # Examples
///
/// ```
/// use matou_sync::set_self_deadlock_hook;
///
/// assert!(set_self_deadlock_hook(Some(|found| eprintln!("{found}"))).is_none());
/// set_self_deadlock_hook(None);
/// ```
pub fn set_self_deadlock_hook(hook: Option<fn(&SelfDeadlock)>) -> Option<fn(&SelfDeadlock)> {
    let mut current = HOOK.write().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *current, hook)
}

/// Calls the hook, if one is set.
pub(crate) fn report(found: &SelfDeadlock) {
    // The read lock is released before the call: a hook may set another hook.
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(hook) = hook {
        hook(found);
    }
}

/// Describes the current holder of a lock.
pub(crate) struct HolderNote {
    /// Identity of the waker that the lock was polled with. Null if it was locked without a poll.
    waker_data: AtomicPtr<()>,
    waker_vtable: AtomicPtr<RawWakerVTable>,
    /// The call that locked. Null while the lock is free. Written last, cleared first.
    location: AtomicPtr<Location<'static>>,
}

impl HolderNote {
    pub(crate) const fn new() -> Self {
        Self {
            waker_data: AtomicPtr::new(ptr::null_mut()),
            waker_vtable: AtomicPtr::new(ptr::null_mut()),
            location: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Records the new holder. Called directly after locking.
    #[inline]
    pub(crate) fn set(&self, waker: Option<&Waker>, location: &'static Location<'static>) {
        let (data, vtable) = identity(waker);
        self.waker_data.store(data, Ordering::Relaxed);
        self.waker_vtable.store(vtable, Ordering::Relaxed);
        // Pairs with the load in `location`: a thread that reads this location also reads this
        // waker, or that of a later holder.
        self.location.store(ptr::from_ref(location).cast_mut(), Ordering::Release);
    }

    /// Clears the note. Called directly before unlocking.
    #[inline]
    pub(crate) fn clear(&self) {
        // Relaxed is enough: the release store that unlocks publishes it.
        self.location.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The call that locked, or `None` if the note is not complete.
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        let location = self.location.load(Ordering::Acquire);
        // SAFETY: `new` and `clear` store null here and `set` stores a pointer made from a
        // `&'static Location<'static>`; nothing else writes to this private field.
        unsafe { location.as_ref() }
    }

    /// Checks whether the holder was polled with the same waker as the lock that waits at
    /// `waiting_at`.
    pub(crate) fn check(
        &self,
        waker: &Waker,
        waiting_at: &'static Location<'static>,
    ) -> Option<SelfDeadlock> {
        let locked_at = self.location()?;
        // Wakers without data, such as `Waker::noop`, are equal for all tasks.
        if waker.data().is_null() || !self.has_waker(waker) {
            return None;
        }
        // Read again: the note may have been overwritten between the reads of its three fields.
        let unchanged = self.location().is_some_and(|location| ptr::eq(location, locked_at));
        (unchanged && self.has_waker(waker)).then_some(SelfDeadlock { locked_at, waiting_at })
    }

    fn has_waker(&self, waker: &Waker) -> bool {
        let noted =
            (self.waker_data.load(Ordering::Relaxed), self.waker_vtable.load(Ordering::Relaxed));
        noted == identity(Some(waker))
    }
}

/// The two pointers that `Waker::will_wake` compares.
fn identity(waker: Option<&Waker>) -> (*mut (), *mut RawWakerVTable) {
    waker.map_or((ptr::null_mut(), ptr::null_mut()), |waker| {
        (waker.data().cast_mut(), ptr::from_ref(waker.vtable()).cast_mut())
    })
}
