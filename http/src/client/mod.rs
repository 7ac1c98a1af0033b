//! A client of HTTP/1.1 and HTTP/2 with a pool of connections.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body::Body;
use matou_runtime::{Task, now, sleep_until, timeout};

mod body;
mod connect;
mod error;
mod lease;
mod origin;
mod pool;

use body::OutgoingBody;
pub use body::ResponseBody;
pub use error::{ClientError, ClientErrorKind};
use origin::Origin;
use pool::Shared;

use crate::error::BoxError;
#[cfg(feature = "tls")]
use crate::tls::{TlsConnector, rustls::ClientConfig};

/// A client of HTTP/1.1 and HTTP/2 with a pool of connections. Clones share the pool.
///
/// **The pool belongs to the task that made the client.** The connections are tasks below a
/// [`daemon`](matou_runtime::daemon()) of that task: they end with it, or when the last clone and
/// the last response body are dropped. Other tasks of the domain may use the client; their requests
/// fail with [`ClientErrorKind::Closed`] when its maker ends.
///
/// A connection of HTTP/1 serves one request at a time, and further requests to the same server
/// wait in line if there are [`connections_max`](ClientBuilder::connections_max). A server that
/// agrees to HTTP/2 by TLS gets one connection for all requests.
///
/// A request that fails on a connection that was idle is sent once more on a new connection, if no
/// byte of it was sent, or if its method is idempotent and its body is empty: the server may have
/// closed the connection at that moment.
///
/// There are no redirects, cookies, proxies or compression. For these use reqwest on a runtime of
/// tokio.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use matou_http::client::Client;
/// use matou_http::net::TcpListener;
/// use matou_http::runtime::{MainError, RunError, run, try_spawn};
/// use matou_http::{serve, service_fn};
///
/// # fn main() -> Result<(), RunError<MainError>> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let uri = format!("http://{}/cat", listener.local_addr()?);
///     let hello = |_| async { Ok::<_, Infallible>(Response::new("purr".to_owned())) };
///     let server = try_spawn(serve(listener, service_fn(hello)).into_future());
///
///     let client = Client::new();
///     let response = client.request(Request::get(uri).body(String::new())?).await?;
///     assert_eq!(response.status(), 200);
///     assert_eq!(response.into_body().collect(1000).await?, b"purr");
///     server.cancel().await;
///     Ok::<_, MainError>(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Rc<ClientHandle>,
}

/// The client ends when it is dropped.
struct ClientHandle {
    shared: Rc<Shared>,
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

struct Settings {
    timeout: Option<Duration>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    idle_max: usize,
    connections_max: usize,
    http2_only: bool,
    unix_socket: Option<PathBuf>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConnector>,
}

impl Settings {
    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }
}

/// The settings of a [`Client`].
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    settings: Settings,
}

impl Client {
    /// Creates a client with the default settings, for the current task.
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn new() -> Client {
        Client::builder().build()
    }

    /// Returns the default settings.
    pub fn builder() -> ClientBuilder {
        let settings = Settings {
            timeout: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            idle_max: 32,
            connections_max: 100,
            http2_only: false,
            unix_socket: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        ClientBuilder { settings }
    }

    /// Sends a request, whose URI is absolute, and returns the response when its head is complete.
    /// The body of the request may still be being sent then.
    ///
    /// # Errors
    ///
    /// A [`ClientError`], whose [`kind`](ClientError::kind) is the step that failed. A response
    /// with a status such as 404 is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request: a connection of HTTP/1 is closed, a stream of
    /// HTTP/2 is reset. The server may have handled the request.
    pub async fn request<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, ClientError>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(OutgoingBody::new);
        let Some(limit) = self.handle.shared.settings.timeout else {
            let (response, lease) = self.exchange(request).await?;
            return Ok(response.map(|body| ResponseBody::new(body, lease, None)));
        };
        let deadline = now().checked_add(limit);
        match timeout(limit, self.exchange(request)).await {
            Ok(result) => {
                let (response, lease) = result?;
                let limit = deadline.map(sleep_until);
                Ok(response.map(|body| ResponseBody::new(body, lease, limit)))
            }
            Err(_) => Err(ClientErrorKind::TimedOut.into()),
        }
    }

    /// Sends a GET request without headers. See [`request`](Client::request).
    ///
    /// # Errors
    ///
    /// As [`request`](Client::request), and [`ClientErrorKind::InvalidRequest`] if `uri` is no URI.
    pub async fn get<U>(&self, uri: U) -> Result<Response<ResponseBody>, ClientError>
    where
        U: TryInto<Uri>,
        U::Error: Into<BoxError>,
    {
        let uri = uri
            .try_into()
            .map_err(|error| ClientError::new(ClientErrorKind::InvalidRequest, error))?;
        let mut request = Request::new(String::new());
        *request.uri_mut() = uri;
        self.request(request).await
    }

    async fn exchange(
        &self,
        mut request: Request<OutgoingBody>,
    ) -> Result<(Response<hyper::body::Incoming>, lease::Lease), ClientError> {
        let origin = Origin::of(&request)?;
        if origin.is_tls && !self.handle.shared.settings.has_tls() {
            let text = "the client has no configuration of TLS";
            return Err(ClientError::new(ClientErrorKind::InvalidRequest, text));
        }
        let uri = request.uri().clone();
        let mut is_fresh = false;
        loop {
            let mut lease = pool::lease(&self.handle, &origin, is_fresh).await?;
            let copy = copy_if_repeatable(&request);
            let mut error = match lease.send(request, &origin, &uri).await {
                Ok(response) => return Ok((response, lease)),
                Err(error) => error,
            };
            let again = error.take_message();
            let error = error.into_error();
            let again = again.or_else(|| copy.filter(|_| is_cut_off(&error)));
            match again {
                Some(again) if lease.is_reused && !is_fresh => request = again,
                Some(_) | None => {
                    return Err(ClientError::new(
                        lease.error_kind(ClientErrorKind::Request),
                        error,
                    ));
                }
            }
            lease.fail();
            // At most one more attempt.
            is_fresh = true;
        }
    }
}

/// Returns whether the connection has ended, rather than the exchange alone.
fn is_cut_off(error: &hyper::Error) -> bool {
    let is_io = error.source().is_some_and(|source| source.is::<std::io::Error>());
    is_io || error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

/// Returns a copy of a request that may be sent twice: the server acts as if it was sent once.
fn copy_if_repeatable(request: &Request<OutgoingBody>) -> Option<Request<OutgoingBody>> {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !is_idempotent || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(OutgoingBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl Default for Client {
    #[track_caller]
    fn default() -> Client {
        Client::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Sets how long an exchange may take, from the call to the end of the response's body. The
    /// default is no limit but that of the task.
    pub fn timeout(mut self, limit: Duration) -> ClientBuilder {
        self.settings.timeout = Some(limit);
        self
    }

    /// Sets how long it may take to establish a connection: to look the host up, to connect, and
    /// the handshake of TLS. The default is 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.settings.connect_timeout = limit;
        self
    }

    /// Sets how long a connection may be idle before it is closed. The default is 60 seconds.
    pub fn idle_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.settings.idle_timeout = limit;
        self
    }

    /// Sets how many idle connections of HTTP/1 are kept for each server. The default is 32.
    pub fn idle_max(mut self, limit: usize) -> ClientBuilder {
        self.settings.idle_max = limit;
        self
    }

    /// Sets how many connections of HTTP/1 to one server are in use at the same time. The default
    /// is 100; further requests wait in line.
    ///
    /// # Panics
    ///
    /// If the limit is zero.
    pub fn connections_max(mut self, limit: usize) -> ClientBuilder {
        assert!(limit > 0, "a client needs a connection");
        self.settings.connections_max = limit;
        self
    }

    /// Uses HTTP/2 without negotiation ("prior knowledge"), also for `http` URIs.
    pub fn http2_only(mut self) -> ClientBuilder {
        self.settings.http2_only = true;
        self
    }

    /// Sends all requests to the Unix socket at `path`, whatever the hosts of their URIs.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> ClientBuilder {
        self.settings.unix_socket = Some(path.into());
        self
    }

    /// Sets the configuration for `https` URIs, such as one of
    /// [`client_config`](crate::tls::client_config). One that names no protocols for ALPN gets `h2`
    /// and `http/1.1`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<std::sync::Arc<ClientConfig>>) -> ClientBuilder {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            std::sync::Arc::make_mut(&mut config).alpn_protocols =
                vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        self.settings.tls = Some(TlsConnector::new(config));
        self
    }

    /// Creates the client, for the current task.
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn build(self) -> Client {
        let shared = Rc::new(Shared::new(self.settings));
        Task::new().name("http client").daemon(pool::run(Rc::clone(&shared)));
        Client { handle: Rc::new(ClientHandle { shared }) }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").finish_non_exhaustive()
    }
}
