use std::fmt;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use super::Client;

/// The settings of a [`Client`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    pub(super) connections_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) http2_only: bool,
    pub(super) unix: Option<PathBuf>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<crate::tls::TlsConnector>,
}

impl ClientBuilder {
    pub(super) fn new() -> ClientBuilder {
        ClientBuilder {
            connections_max: 32,
            idle_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            http2_only: false,
            unix: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the most connections of HTTP/1.1 to one host. Further requests wait in line. Default:
    /// 32. All requests to a host that speaks HTTP/2 share one connection.
    pub fn connections_max(self, connections: usize) -> ClientBuilder {
        ClientBuilder { connections_max: connections.max(1), ..self }
    }

    /// Sets how long a connection is kept without a request. Default: 60 s.
    pub fn idle_timeout(self, time: Duration) -> ClientBuilder {
        ClientBuilder { idle_timeout: time, ..self }
    }

    /// Sets how long it may take to connect, with the lookup of the name and the handshakes.
    /// Default: 10 s.
    pub fn connect_timeout(self, time: Duration) -> ClientBuilder {
        ClientBuilder { connect_timeout: time, ..self }
    }

    /// Sets how long it may take from the request to the head of the response, with the wait for a
    /// connection. Default: 60 s.
    pub fn response_timeout(self, time: Duration) -> ClientBuilder {
        ClientBuilder { response_timeout: time, ..self }
    }

    /// Sets how long the next part of a body may take. Default: 30 s. For a limit to the whole, put
    /// a [`timeout`](matou_runtime::timeout) around it.
    pub fn body_timeout(self, time: Duration) -> ClientBuilder {
        ClientBuilder { body_timeout: time, ..self }
    }

    /// Sets whether servers without TLS speak HTTP/2. Default: `false`, which means HTTP/1.1. With
    /// TLS the two sides agree on a version.
    pub fn http2_only(self, http2_only: bool) -> ClientBuilder {
        ClientBuilder { http2_only, ..self }
    }

    /// Sends all requests to the server at a Unix socket, whatever their host.
    pub fn unix_socket(self, path: impl Into<PathBuf>) -> ClientBuilder {
        ClientBuilder { unix: Some(path.into()), ..self }
    }

    /// Sets the connector for `https`. If its configuration offers `h2` (ALPN), servers may choose
    /// HTTP/2.
    #[cfg(feature = "tls")]
    pub fn tls(self, connector: crate::tls::TlsConnector) -> ClientBuilder {
        ClientBuilder { tls: Some(connector), ..self }
    }

    /// Creates the client. The current task owns its connections.
    pub fn build(self) -> Client {
        Client::with(self)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("connections_max", &self.connections_max)
            .field("idle_timeout", &self.idle_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("body_timeout", &self.body_timeout)
            .field("http2_only", &self.http2_only)
            .field("unix", &self.unix)
            .finish_non_exhaustive()
    }
}
