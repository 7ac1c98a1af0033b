use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What was attempted, where, and what the system said to it.
#[derive(Debug)]
struct Failure {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Adds to an error what was attempted and where. Its kind stays.
pub(crate) fn failed_to(
    what: &'static str,
    address: SocketAddr,
) -> impl FnOnce(io::Error) -> io::Error {
    move |source| {
        let kind = source.kind();
        let failure = Failure { what, address, source };
        io::Error::new(kind, failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { what, address, source } = self;
        write!(f, "failed to {what} {address}: {source}")
    }
}

// The system's error is in the text already; as a source, too, it would be told twice.
impl Error for Failure {}
