use std::time::Duration;

/// Limits on what the clients of a server can cost. Each applies to one server, that is to one
/// domain.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_http::Limits;
///
/// let limits = Limits { connections_max: 100, ..Limits::default() };
/// assert_eq!(limits.request_timeout, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most concurrent connections. A full server does not accept, so further ones wait in the
    /// system's backlog. Default: 4,096.
    pub connections_max: usize,
    /// How long the head of a request may take: of the first one from the accept on, of each
    /// further one from its first byte on. Then the connection is closed; a head of HTTP/1 that has
    /// begun is answered with the status 408 before. Default: 10 s.
    pub header_timeout: Duration,
    /// The most bytes in the head of a request. A longer one is answered with the status 431.
    /// Default: 16 KiB.
    pub header_bytes_max: usize,
    /// The most headers of a request of HTTP/1. More are answered with the status 431. Default:
    /// 100.
    pub headers_max: usize,
    /// How long the next part of a request's body may take, while the handler waits for it. Then
    /// the body fails with [`BodyError`](crate::BodyError). Default: 30 s.
    pub body_timeout: Duration,
    /// How long a client may receive none of the bytes that wait for it, or in HTTP/2 none of those
    /// of one response. Then the connection is closed. Default: 30 s.
    pub write_timeout: Duration,
    /// How long a connection may stay open without a request. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a handler may take until it returns a response; its body may take longer. Then the
    /// handler is cancelled, and the client receives the status 503. Default: 60 s.
    pub request_timeout: Duration,
    /// The most concurrent requests of one connection of HTTP/2. A client that starts and resets
    /// requests faster than they can be cancelled loses the connection when there are twice as many
    /// tasks. Default: 100.
    pub streams_max: u32,
    /// The most buffered bytes in each direction of a connection of HTTP/1, at least 8 KiB.
    /// Default: 64 KiB.
    pub buffered_bytes_max: usize,
    /// How long the requests that are in progress may take after a shutdown has begun. Then they
    /// are cancelled. Default: 10 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 4096,
            header_timeout: Duration::from_secs(10),
            header_bytes_max: 16 << 10,
            headers_max: 100,
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            streams_max: 100,
            buffered_bytes_max: 64 << 10,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
