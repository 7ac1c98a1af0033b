//! Catching panics, and recording where they happened.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::task::Waker;

thread_local! {
    /// Where the most recent panic of this thread happened. The hook writes it; the code that
    /// catches the panic takes it.
    static LOCATION: Cell<Option<String>> = const { Cell::new(None) };
}

/// Installs a panic hook that records the location of a panic and then calls the previous hook.
/// Does so once per process.
///
/// Only a hook receives the location. The payload that `catch_unwind` returns does not contain it.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    if std::thread::panicking() {
        // The run was started by a destructor during a panic, when the hook cannot be changed.
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

/// Takes the location of the most recent panic of this thread.
pub(crate) fn take_location() -> Option<String> {
    LOCATION.try_with(Cell::take).ok().flatten()
}

/// Returns the message of a payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is not text".to_owned()
    }
}

/// Runs `f` and returns the payload of a panic as an error.
///
/// `AssertUnwindSafe`: the scheduler never reads state that a panicking closure has modified. A
/// future that panicked is only dropped.
#[inline]
pub(crate) fn catch_payload<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// Wakes a waker that may belong to a foreign combinator and panic. The caller continues in any
/// case.
pub(crate) fn wake(waker: Waker) {
    ignore(|| waker.wake());
}

/// Runs `f` and ignores a panic, which the panic hook has reported.
pub(crate) fn ignore(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        let _ = take_location();
        // The destructor of any other payload might panic as well, which could not be caught here.
        if !payload.is::<&'static str>() && !payload.is::<String>() {
            std::mem::forget(payload);
        }
    }
}
