//! Who holds a mutex, and the suspicion that a task waits for itself.
//!
//! A crate without a runtime does not know tasks. It knows the waker that a lock was polled with,
//! and a task is usually polled with the same one every time. So the holder leaves a note, and a
//! lock that has to wait compares. The note is not synchronised with the lock: it is for diagnosis,
//! and read twice, since a task that truly waits for itself cannot change it in between.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::panic::Location;
use std::ptr;
// The note and the hook are not part of the models: they decide nothing, and would only multiply
// the schedules to explore.
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::task::{RawWakerVTable, Waker};

/// The most pairs of lines that the default hook remembers; it is silent about further ones.
const PAIRS_MAX: usize = 256;

static HOOK: RwLock<fn(&Relock)> = RwLock::new(print_once);

/// The suspicion that a task waits for a mutex that it holds itself.
///
/// It is raised when a [`Lock`](crate::futures::Lock) has to wait while the mutex is held
/// through a lock that was polled with the same waker, and handed to the hook of
/// [`set_relock_hook`]. It is no error: `join!(a, b)` polls both with the waker of their task, and
/// there `a` may well release what `b` waits for.
///
/// It is not raised when the wakers differ, as for the children of a `FuturesUnordered`, or have no
/// data to tell them apart, as [`Waker::noop`], nor when the mutex was taken with `try_lock`.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex as StdMutex;
///
/// use futures::{executor::block_on, join};
/// use matou_sync::{Mutex, Relock, set_relock_hook};
///
/// static SEEN: StdMutex<Vec<Relock>> = StdMutex::new(Vec::new());
/// set_relock_hook(|relock| SEEN.lock().unwrap().push(relock.clone()));
///
/// block_on(async {
///     let mutex = Mutex::new(0);
///     let guard = mutex.lock().await;
///     // Legal, since this task goes on and releases the guard; and suspect all the same.
///     join!(async { *mutex.lock().await += 1 }, async { drop(guard) });
/// });
///
/// let seen = SEEN.lock().unwrap();
/// assert_eq!(seen.len(), 1);
/// assert_eq!(seen[0].wanted_at.line(), seen[0].held_since.line() + 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relock {
    /// The call that led to the guard.
    pub held_since: &'static Location<'static>,
    /// The call that waits for it.
    pub wanted_at: &'static Location<'static>,
}

impl fmt::Display for Relock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the lock at {} waits for a mutex that its own task seems to hold since {}",
            self.wanted_at, self.held_since
        )
    }
}

/// Sets the function that is told of each [`Relock`], and returns the one before it.
///
/// There is one hook for the process. It is called by the task that waits, at most once for each
/// lock. The default prints one line on stderr for each pair of lines, never the same pair twice.
///
/// # Panics
///
/// A panic of the hook unwinds out of the poll of the lock, which stays usable.
///
/// # Examples
///
/// ```
/// use matou_sync::set_relock_hook;
///
/// let default = set_relock_hook(|relock| panic!("{relock}"));
/// set_relock_hook(default);
/// ```
pub fn set_relock_hook(hook: fn(&Relock)) -> fn(&Relock) {
    let mut slot = HOOK.write().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *slot, hook)
}

/// Tells the hook.
pub(crate) fn report(relock: &Relock) {
    // Release the lock before the call: a hook may set another hook.
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    hook(relock);
}

/// The default hook.
fn print_once(relock: &Relock) {
    static PRINTED: Mutex<BTreeSet<(&Location<'_>, &Location<'_>)>> = Mutex::new(BTreeSet::new());

    let is_new = {
        let mut printed = PRINTED.lock().unwrap_or_else(PoisonError::into_inner);
        printed.len() < PAIRS_MAX && printed.insert((relock.held_since, relock.wanted_at))
    };
    if is_new {
        // Nobody is served by a panic over a closed stderr.
        let _ = writeln!(std::io::stderr(), "matou-sync: {relock}");
    }
}

/// What the holder of a lock leaves for those who wonder.
pub(crate) struct Note {
    /// The waker that the lock was polled with; null if there was none.
    waker_data: AtomicPtr<()>,
    waker_vtable: AtomicPtr<RawWakerVTable>,
    /// Where the lock was asked for; null while nobody holds it. Written last, erased first.
    line: AtomicPtr<Location<'static>>,
}

impl Note {
    pub(crate) const fn new() -> Self {
        Self {
            waker_data: AtomicPtr::new(ptr::null_mut()),
            waker_vtable: AtomicPtr::new(ptr::null_mut()),
            line: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Notes the new holder. For the one who has just locked.
    #[inline]
    pub(crate) fn write(&self, waker: Option<&Waker>, line: &'static Location<'static>) {
        let (data, vtable) = identity(waker);
        self.waker_data.store(data, Ordering::Relaxed);
        self.waker_vtable.store(vtable, Ordering::Relaxed);
        // Pairs with the load in `line`: who sees the line sees its waker, or a later one.
        self.line.store(ptr::from_ref(line).cast_mut(), Ordering::Release);
    }

    /// Erases the note. For the one who is about to unlock; the unlocking itself publishes it.
    #[inline]
    pub(crate) fn erase(&self) {
        self.line.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The line of the holder, if the note is complete.
    pub(crate) fn line(&self) -> Option<&'static Location<'static>> {
        let line = self.line.load(Ordering::Acquire);
        // SAFETY: `new`, `write` and `erase` are the only ones to store here, and they store null
        // or what was a `&'static Location<'static>`.
        unsafe { line.as_ref() }
    }

    /// Suspects the holder to be the task that `waker` belongs to.
    pub(crate) fn suspect(
        &self,
        waker: &Waker,
        wanted_at: &'static Location<'static>,
    ) -> Option<Relock> {
        let held_since = self.line()?;
        // A waker without data, as that of `Waker::noop`, is the same for everybody.
        if waker.data().is_null() || !self.is_of(waker) {
            return None;
        }
        let unchanged = self.line().is_some_and(|line| ptr::eq(line, held_since));
        (unchanged && self.is_of(waker)).then_some(Relock { held_since, wanted_at })
    }

    fn is_of(&self, waker: &Waker) -> bool {
        let noted =
            (self.waker_data.load(Ordering::Relaxed), self.waker_vtable.load(Ordering::Relaxed));
        noted == identity(Some(waker))
    }
}

/// The two pointers that make two wakers the same, as `Waker::will_wake` has it.
fn identity(waker: Option<&Waker>) -> (*mut (), *mut RawWakerVTable) {
    waker.map_or((ptr::null_mut(), ptr::null_mut()), |waker| {
        (waker.data().cast_mut(), ptr::from_ref(waker.vtable()).cast_mut())
    })
}
