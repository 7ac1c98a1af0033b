//! Catches what unwinds, and remembers where it came from.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::task::Waker;

thread_local! {
    /// Where the newest panic of this thread happened; written by the hook, taken by the catcher.
    static LOCATION: Cell<Option<String>> = const { Cell::new(None) };
}

/// Puts a hook in front of the present one, once in a process, that notes where a panic happened.
///
/// Only a hook is told the location; the payload that `catch_unwind` returns does not carry it.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    if std::thread::panicking() {
        // A run in a drop that belongs to a panic: the hook cannot be changed now.
        return;
    }
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let location = info.location().map(ToString::to_string);
            let _ = LOCATION.try_with(|cell| cell.set(location));
            previous(info);
        }));
    });
}

pub(crate) fn take_location() -> Option<String> {
    LOCATION.try_with(Cell::take).ok().flatten()
}

pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is not text".to_owned()
    }
}

/// Runs `f` and turns a panic into its payload.
///
/// The scheduler never looks again at what a caught closure leaves behind: a future that panicked is
/// only dropped.
#[inline]
pub(crate) fn catch_payload<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// Wakes somebody whose waker may be a foreign combinator's and panic: the next one is woken all
/// the same.
pub(crate) fn wake(waker: Waker) {
    ignore(|| waker.wake());
}

/// Runs what nobody takes the outcome of. A panic has been told by the hook, and ends here.
pub(crate) fn ignore(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        let _ = take_location();
        // A payload that is not text may panic when it is dropped, and nobody could catch that.
        if !payload.is::<&'static str>() && !payload.is::<String>() {
            std::mem::forget(payload);
        }
    }
}
