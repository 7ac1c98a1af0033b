//! Errors that say which operation failed on which address.

use std::error::Error;
use std::fmt;
use std::io;

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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { operation, address, error } = self;
        write!(f, "failed to {operation} {address}: {error}")
    }
}

// No `source`: the text contains the system's error, which a chain of sources would repeat.
impl Error for Failure {}
