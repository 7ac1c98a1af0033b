//! Callbacks that report to a runtime which task waits for what, and which task holds which mutex.
//!
//! This crate and the runtime do not depend on each other: the callbacks take types of std only.

use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Functions that this crate calls when a future waits and when a mutex is locked or unlocked; see
/// [`set_hooks`].
///
/// They run on the thread that waits, locks or unlocks, within its poll, and no internal list is
/// locked at that time. A mutex is identified by its address, which is unique while the mutex is
/// not moved.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// A poll is about to return `Pending`. The arguments are the mutex, if the future waits for
    /// one; the operation (`"lock"`, `"condition"`, `"push"`, `"pop"`); and the location of the
    /// call that created the future.
    pub on_wait: fn(Option<usize>, &'static str, &'static Location<'static>),
    /// The mutex was locked by the call at this location.
    pub on_acquire: fn(usize, &'static Location<'static>),
    /// The mutex is about to be unlocked.
    pub on_release: fn(usize),
}

/// Sets the hooks of this process. Returns `false` if hooks are set already; those are kept.
///
/// While no hooks are set, each place that would call one costs a load and a branch.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use matou_sync::{Hooks, Mutex, set_hooks};
///
/// static HELD: AtomicUsize = AtomicUsize::new(0);
///
/// assert!(set_hooks(Hooks {
///     on_wait: |_, _, _| {},
///     on_acquire: |_, _| { HELD.fetch_add(1, Ordering::Relaxed); },
///     on_release: |_| { HELD.fetch_sub(1, Ordering::Relaxed); },
/// }));
/// let mutex = Mutex::new(0);
/// let guard = mutex.try_lock();
/// assert_eq!(HELD.load(Ordering::Relaxed), 1);
/// drop(guard);
/// assert_eq!(HELD.load(Ordering::Relaxed), 0);
/// ```
///
/// The test mode of `matou-runtime` provides functions for all three: `note_wait`, `note_acquired`
/// and `note_released` in `matou_runtime::test`. With these set, its deadlock reports name the
/// holder of each lock.
pub fn set_hooks(hooks: Hooks) -> bool {
    HOOKS.set(hooks).is_ok()
}

#[inline]
pub(crate) fn on_wait(mutex: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.on_wait)(mutex, what, at);
    }
}

#[inline]
pub(crate) fn on_acquire(mutex: usize, at: &'static Location<'static>) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.on_acquire)(mutex, at);
    }
}

#[inline]
pub(crate) fn on_release(mutex: usize) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.on_release)(mutex);
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
