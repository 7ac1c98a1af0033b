//! A client with a pool of connections.
//!
//! # Examples
//!
//! ```
//! use std::future::IntoFuture;
//! use axum::{Router, routing::get};
//! use matou_http::client::Client;
//! use matou_http::runtime::{RunError, run, try_spawn};
//! use matou_http::serve;
//! use matou_net::TcpListener;
//!
//! # fn main() -> Result<(), RunError> {
//! run(async {
//!     let mut listener = TcpListener::bind("127.0.0.1:0")?;
//!     let url = format!("http://{}/", listener.local_addr()?);
//!     let router = Router::new().route("/", get(|| async { "purr" }));
//!     let server = try_spawn(serve(listener, router).into_future());
//!
//!     let client = Client::new();
//!     let response = client.get(&url).await?;
//!     assert_eq!(response.status(), 200);
//!     assert_eq!(response.into_body().text(1 << 20).await?, "purr");
//!     drop(client);
//!     server.cancel().await;
//!     Ok(())
//! })
//! # }
//! ```

mod body;
mod builder;
mod connection;
mod error;
mod pool;

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, Uri, header};
use matou_runtime::{Orphans, abandon, timeout};

pub use body::{ClientBody, RequestContent};
pub use builder::ClientBuilder;
pub use error::{ClientError, ClientErrorKind};

use connection::Failure;
use error::ClientErrorKind::{InvalidRequest, TimedOut};
use pool::{Lease, Pool};

/// A client of HTTP/1.1 and HTTP/2, and the owner of its connections.
///
/// Connections are opened when they are needed and kept for later requests. Each has a task, which
/// is a child of the task that has created the client: when the client is dropped, or that task
/// ends, the connections end, and requests that are in progress in other tasks fail. Other tasks of
/// the same domain use a [`ClientHandle`], to which the client dereferences.
///
/// - Dropping the future of a request, or the body of a response before its end, gives the request
///   up: in HTTP/1.1 with its connection, in HTTP/2 with its stream alone.
/// - A request that the server cannot have processed, because its connection had ended, is repeated
///   once on another connection.
/// - Redirects are returned, not followed, and there are no cookies, proxies or decompression: for
///   those use reqwest through `matou-tokio`.
///
/// For `https` the feature `tls` and [`ClientBuilder::tls`] are needed.
#[derive(Debug)]
pub struct Client {
    handle: ClientHandle,
    /// `None` once the client is closed.
    connections: Option<Orphans<()>>,
}

/// Access to a [`Client`], for the tasks of its domain.
#[derive(Clone)]
pub struct ClientHandle {
    pool: Rc<Pool>,
}

impl Client {
    /// Creates a client with the default settings. The current task owns its connections.
    pub fn new() -> Client {
        Client::builder().build()
    }

    /// Returns the default settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    fn with(builder: ClientBuilder) -> Client {
        let connections = Orphans::new().discarding();
        let pool = Rc::new(Pool::new(builder, connections.spawner()));
        Client { handle: ClientHandle { pool }, connections: Some(connections) }
    }

    /// Returns a handle for other tasks.
    pub fn handle(&self) -> ClientHandle {
        self.handle.clone()
    }

    /// Ends the connections, and waits for their tasks.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the client.
    pub async fn close(mut self) {
        if let Some(connections) = self.connections.take() {
            connections.cancel_all();
            connections.next().await;
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Deref for Client {
    type Target = ClientHandle;

    fn deref(&self) -> &ClientHandle {
        &self.handle
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.take() {
            connections.cancel_all();
            // Given up on purpose, rather than forgotten.
            drop(abandon(async move { connections.next().await }));
        }
    }
}

impl ClientHandle {
    /// Sends a `GET` request.
    ///
    /// # Errors
    ///
    /// As [`request`](ClientHandle::request).
    pub async fn get(&self, url: &str) -> Result<Response<ClientBody>, ClientError> {
        let uri: Uri = url.parse().map_err(|error| ClientError::new(InvalidRequest, error))?;
        let mut request = Request::new(RequestContent::empty());
        *request.uri_mut() = uri;
        self.request(request).await
    }

    /// Sends a `POST` request.
    ///
    /// # Errors
    ///
    /// As [`request`](ClientHandle::request).
    pub async fn post(
        &self,
        url: &str,
        content: impl Into<RequestContent>,
    ) -> Result<Response<ClientBody>, ClientError> {
        let uri: Uri = url.parse().map_err(|error| ClientError::new(InvalidRequest, error))?;
        let mut request = Request::new(content.into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        self.request(request).await
    }

    /// Sends a request, and returns the head of its response. The URI must be absolute. The header
    /// `Host` is added if there is none.
    ///
    /// A status such as 404 is no error.
    ///
    /// # Errors
    ///
    /// The [kind](ClientError::kind) tells at which step the request failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up; the server may have processed it.
    pub async fn request(
        &self,
        request: Request<impl Into<RequestContent>>,
    ) -> Result<Response<ClientBody>, ClientError> {
        let (head, content) = request.into_parts();
        let mut request = Request::from_parts(head, content.into());
        let key = self.pool.key(request.uri())?;
        add_host(&mut request)?;
        let limit = self.pool.settings.response_timeout;
        let sent = timeout(limit, self.send(&key, request)).await;
        sent.unwrap_or_else(|elapsed| Err(ClientError::new(TimedOut, elapsed)))
    }

    async fn send(
        &self,
        key: &pool::Key,
        request: Request<RequestContent>,
    ) -> Result<Response<ClientBody>, ClientError> {
        let copy = connection::repeatable(&request);
        let lease = self.pool.lease(key, false).await?;
        let was_used = lease.was_used;
        let failure = match self.send_on(lease, request).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        // Only a connection that was kept may have ended for a reason that says nothing about the
        // request.
        // fault: failed-request-repeated
        let again = match failure.unsent {
            _ if !was_used => None,
            Some(request) => Some(request),
            None if failure.is_unanswered => copy,
            None => None,
        };
        let Some(request) = again else { return Err(failure.error) };
        let lease = self.pool.lease(key, true).await?;
        self.send_on(lease, request).await.map_err(|failure| failure.error)
    }

    async fn send_on(
        &self,
        mut lease: Lease,
        request: Request<RequestContent>,
    ) -> Result<Response<ClientBody>, Failure> {
        let response = lease.sender.send(request).await?;
        let limit = self.pool.settings.body_timeout;
        Ok(response.map(|incoming| ClientBody::new(incoming, limit, lease)))
    }
}

/// Adds the header `Host`.
fn add_host(request: &mut Request<RequestContent>) -> Result<(), ClientError> {
    if request.headers().contains_key(header::HOST) {
        return Ok(());
    }
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    // Without the name and password of a user.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::try_from(host);
    let host = host.map_err(|error| ClientError::new(InvalidRequest, error))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle").finish_non_exhaustive()
    }
}
