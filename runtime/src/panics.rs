//! Catching panics, and recording where they happened.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;
use std::task::Waker;

use crate::locks::assert_none_held;

thread_local! {
    /// The most recent panic of this thread. The hook writes it; the code that catches the panic
    /// takes it.
    static LATEST: Cell<Option<Recorded>> = const { Cell::new(None) };
}

/// A panic that the hook has recorded.
struct Recorded {
    payload: PayloadId,
    location: String,
}

/// Identifies the payload of a panic. A payload that `resume_unwind` raises did not pass the hook:
/// the most recent panic that did may be another one, which the program has caught.
#[derive(PartialEq)]
struct PayloadId {
    type_id: TypeId,
    /// The address of its text, if it is text. The hook receives the payload before it is boxed, so
    /// the address of the payload itself changes.
    text: Option<usize>,
}

impl PayloadId {
    fn of(payload: &(dyn Any + Send)) -> PayloadId {
        let text = text_of(payload).map(|text| text.as_ptr() as usize);
        PayloadId { type_id: payload.type_id(), text }
    }
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
            let recorded = info.location().map(|location| Recorded {
                payload: PayloadId::of(info.payload()),
                location: location.to_string(),
            });
            let _ = LATEST.try_with(|latest| latest.set(recorded));
            previous(info);
        }));
    });
}

/// Takes the location of the panic that this thread has just caught with this payload; `None` if
/// the hook has not seen it.
pub(crate) fn take_location(payload: &(dyn Any + Send)) -> Option<String> {
    let latest = LATEST.try_with(Cell::take).ok().flatten()?;
    (latest.payload == PayloadId::of(payload)).then_some(latest.location)
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<String>().map(|text| &**text),
    }
}

/// Returns the message of a payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    text_of(payload).unwrap_or("a payload that is not text").to_owned()
}

/// Runs `f` and returns the payload of a panic as an error.
///
/// `AssertUnwindSafe`: the scheduler never reads state that a panicking closure has modified. A
/// future that panicked is only dropped.
#[inline]
pub(crate) fn catch_payload<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    assert_none_held();
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// Wakes a waker that may belong to a foreign combinator and panic. The caller continues in any
/// case.
pub(crate) fn wake(waker: Waker) {
    ignore(|| waker.wake());
}

/// Runs `f`, and aborts the process if it panics: neither the caller nor another thread could go
/// on.
/// The panic hook has reported the panic.
pub(crate) fn abort_on_panic(f: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(f)).is_err() {
        std::process::abort();
    }
}

/// Runs `f` and ignores a panic, which the panic hook has reported.
pub(crate) fn ignore(f: impl FnOnce()) {
    assert_none_held();
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        let _ = take_location(&*payload);
        forget_payload(payload);
    }
}

/// Drops each item. A panic of a destructor does not keep the others from being dropped; two of
/// them in one collection would abort the process.
pub(crate) fn drop_each<T>(items: impl IntoIterator<Item = T>) {
    items.into_iter().for_each(|item| ignore(|| drop(item)));
}

/// Drops a payload, unless its destructor is unknown code that might panic as well.
pub(crate) fn forget_payload(payload: Box<dyn Any + Send>) {
    if !payload.is::<&'static str>() && !payload.is::<String>() {
        std::mem::forget(payload);
    }
}

/// Panics because a future is polled after completion. The poll may come from a combinator of
/// another crate, so the message names the line that created the future.
#[cold]
#[track_caller]
pub(crate) fn polled_after_completion(future: &str, created_at: &Location<'_>) -> ! {
    panic!("{future} polled after completion; created at {created_at}")
}
