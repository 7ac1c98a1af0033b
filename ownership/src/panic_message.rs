//! The texts of panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

/// Converts the payload of a caught panic to text, and drops the payload.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("panic payload of unknown type")
    };
    // Dropping a payload can panic again. The second payload is leaked if its drop may panic too.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
        && !second.is::<&'static str>()
        && !second.is::<String>()
    {
        std::mem::forget(second);
    }
    message
}

/// Panics because a future is polled after completion. The poll may come from a combinator of
/// another crate, so the message names the line that created the future.
#[cold]
#[track_caller]
pub(crate) fn polled_after_completion(future: &str, created_at: &Location<'_>) -> ! {
    panic!("{future} polled after completion; created at {created_at}")
}
