//! Telling a runtime who waits and who holds, so that it can explain a hang.
//!
//! Neither crate knows the other: the functions take what std has.

use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Functions that are told who waits for what, and who holds which mutex; see [`observe`].
///
/// They are called by the task that waits, locks or unlocks, on its thread, while no list of this
/// crate is locked. A mutex is named by a number that is its own for as long as it stays where it
/// is.
#[derive(Clone, Copy)]
pub struct Observer {
    /// A future is about to wait: for this mutex, if it waits for one; what it does, in a word
    /// (`"lock"`, `"condition"`, `"push"`, `"pop"`); and the line that began it.
    pub waiting: fn(Option<usize>, &'static str, &'static Location<'static>),
    /// This mutex was locked, by that line.
    pub acquired: fn(usize, &'static Location<'static>),
    /// This mutex is being unlocked.
    pub released: fn(usize),
}

/// Sets the observer of this process. Returns false if there was one already, which stays.
///
/// Without one, all that it costs is a look whether there is one.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use matou_sync::{Mutex, Observer, observe};
///
/// static HELD: AtomicUsize = AtomicUsize::new(0);
///
/// assert!(observe(Observer {
///     waiting: |_, _, _| {},
///     acquired: |_, _| { HELD.fetch_add(1, Ordering::Relaxed); },
///     released: |_| { HELD.fetch_sub(1, Ordering::Relaxed); },
/// }));
/// let mutex = Mutex::new(0);
/// let guard = mutex.try_lock();
/// assert_eq!(HELD.load(Ordering::Relaxed), 1);
/// drop(guard);
/// assert_eq!(HELD.load(Ordering::Relaxed), 0);
/// ```
///
/// For a program on `matou-runtime`, whose test mode then names who holds what in a deadlock:
/// `observe(Observer { waiting: test::waiting, acquired: test::acquired, released: test::released
/// })`.
pub fn observe(observer: Observer) -> bool {
    OBSERVER.set(observer).is_ok()
}

#[inline]
pub(crate) fn waiting(mutex: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    if let Some(observer) = OBSERVER.get() {
        (observer.waiting)(mutex, what, at);
    }
}

#[inline]
pub(crate) fn acquired(mutex: usize, at: &'static Location<'static>) {
    if let Some(observer) = OBSERVER.get() {
        (observer.acquired)(mutex, at);
    }
}

#[inline]
pub(crate) fn released(mutex: usize) {
    if let Some(observer) = OBSERVER.get() {
        (observer.released)(mutex);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
