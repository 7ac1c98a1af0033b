use std::error::Error;
use std::fmt;

use crate::error::BoxError;

/// The error of a [`Client`](super::Client) or a [`ResponseBody`](super::ResponseBody).
#[derive(Debug)]
pub struct ClientError {
    kind: ClientErrorKind,
    source: Option<BoxError>,
}

/// The step in which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// The request cannot be sent: its URI has no host or an unknown scheme, it is `https` and the
    /// client has no configuration of TLS, or its method is CONNECT.
    InvalidRequest,
    /// The host was not found.
    Resolve,
    /// No address of the host accepts the connection.
    Connect,
    /// The handshake of TLS failed.
    Tls,
    /// The connection was not established within
    /// [`connect_timeout`](super::ClientBuilder::connect_timeout).
    ConnectTimedOut,
    /// The exchange took longer than [`timeout`](super::ClientBuilder::timeout).
    TimedOut,
    /// The connection failed before the head of the response was complete, or the server did not
    /// speak HTTP.
    Request,
    /// The connection failed within the body of the response.
    Body,
    /// The body of the response is larger than the limit.
    BodyTooLarge,
    /// The task that made the client has ended.
    Closed,
}

impl ClientError {
    pub(super) fn new(kind: ClientErrorKind, source: impl Into<BoxError>) -> ClientError {
        ClientError { kind, source: Some(source.into()) }
    }

    /// Returns the step in which the request failed.
    pub fn kind(&self) -> ClientErrorKind {
        self.kind
    }
}

impl From<ClientErrorKind> for ClientError {
    fn from(kind: ClientErrorKind) -> ClientError {
        ClientError { kind, source: None }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ClientErrorKind::InvalidRequest => "the request is invalid",
            ClientErrorKind::Resolve => "failed to look up the host",
            ClientErrorKind::Connect => "failed to connect",
            ClientErrorKind::Tls => "failed to establish TLS",
            ClientErrorKind::ConnectTimedOut => "the time to connect has elapsed",
            ClientErrorKind::TimedOut => "the time for the request has elapsed",
            ClientErrorKind::Request => "failed to receive a response",
            ClientErrorKind::Body => "failed to receive the body of the response",
            ClientErrorKind::BodyTooLarge => "the body of the response is too large",
            ClientErrorKind::Closed => "the client has ended",
        })
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
