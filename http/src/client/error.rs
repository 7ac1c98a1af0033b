use std::error::Error;
use std::fmt;

use crate::error::BoxError;

/// Why a request failed.
#[derive(Debug)]
pub struct ClientError {
    kind: ClientErrorKind,
    source: BoxError,
}

/// The step at which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// The request has no absolute URI, or a scheme that the client does not support.
    InvalidRequest,
    /// The name of the host was not found, or no connection could be made.
    Connect,
    /// The handshake of TLS or HTTP/2 failed.
    Handshake,
    /// The connection failed, the server sent something else than HTTP, or the client was dropped.
    Exchange,
    /// The body of the response is not complete.
    Body,
    /// The body of the response is longer than the caller permits.
    TooLong,
    /// The head or a part of the body did not arrive in time.
    TimedOut,
}

impl ClientError {
    pub(crate) fn new(kind: ClientErrorKind, source: impl Into<BoxError>) -> ClientError {
        ClientError { kind, source: source.into() }
    }

    /// Returns the step at which the request failed.
    pub fn kind(&self) -> ClientErrorKind {
        self.kind
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.kind {
            ClientErrorKind::InvalidRequest => "the request is not valid",
            ClientErrorKind::Connect => "no connection",
            ClientErrorKind::Handshake => "the handshake failed",
            ClientErrorKind::Exchange => "no response",
            ClientErrorKind::Body => "the body of the response is not complete",
            ClientErrorKind::TooLong => "the body of the response is too long",
            ClientErrorKind::TimedOut => "no response in time",
        };
        write!(f, "{step}: {}", self.source)
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The text contains the source, but not the source's own.
        self.source.source()
    }
}
