//! The text of a caught panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Converts the payload of a caught panic to text, and drops the payload.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("panic payload of unknown type")
    };
    // Dropping a payload can panic again. The second payload is leaked, since its drop may panic
    // too.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    message
}
