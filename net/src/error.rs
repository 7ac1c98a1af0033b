//! Errors that say which operation failed on which address, and the panic of a future that is
//! polled after completion.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;

use crate::address::Address;

#[derive(Debug)]
struct Failure {
    operation: &'static str,
    address: Address,
    error: io::Error,
}

/// Adds the operation and the address to an error, whose kind stays the same:
/// `failed to connect to 127.0.0.1:80: Connection refused`.
pub(crate) fn with_context(
    operation: &'static str,
    address: impl Into<Address>,
) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        let kind = error.kind();
        io::Error::new(kind, Failure { operation, address: address.into(), error })
    }
}

/// Panics because a future is polled after completion. The poll may come from a combinator of
/// another crate, so the message names the line that created the future.
#[cold]
#[track_caller]
pub(crate) fn polled_after_completion(future: &str, created_at: &Location<'_>) -> ! {
    panic!("{future} polled after completion; created at {created_at}")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { operation, address, error } = self;
        write!(f, "failed to {operation} {address}: {error}")
    }
}

// No `source`: the text contains the system's error, which a chain of sources would repeat.
impl Error for Failure {}
