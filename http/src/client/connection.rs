//! One connection: how it is made, its task, and how a request is sent on it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::ready;
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use http::{Method, Request, Response, Uri, uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use matou_net::{TcpStream, UnixStream};
use matou_runtime::{Spawner, now, sleep, sleep_until};

use super::body::RequestContent;
use super::builder::ClientBuilder;
use super::error::ClientError;
use super::error::ClientErrorKind::{Connect, Exchange, Handshake, InvalidRequest};
use super::pool::Key;
use crate::executor::LocalExecutor;
use crate::io::HyperIo;
use crate::timer::Timer;

/// Sends requests on a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<RequestContent>),
    Http2(http2::SendRequest<RequestContent>),
}

/// Why a request has no response.
pub(super) struct Failure {
    pub(super) error: ClientError,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Request<RequestContent>>,
    /// The connection has ended before the first byte of a response.
    pub(super) is_unanswered: bool,
}

impl Sender {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestContent>,
    ) -> Result<Response<Incoming>, Failure> {
        let ready = match self {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        };
        if let Err(error) = ready {
            let error = ClientError::new(Exchange, error);
            return Err(Failure { error, unsent: Some(request), is_unanswered: true });
        }
        let sent = match self {
            Sender::Http1(sender) => {
                make_relative(&mut request);
                sender.try_send_request(request).await
            }
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|error: TrySendError<_>| {
            let (error, unsent) = {
                let mut error = error;
                let unsent = error.take_message();
                (error.into_error(), unsent)
            };
            let is_unanswered =
                error.is_incomplete_message() || error.is_canceled() || error.is_closed();
            Failure { error: ClientError::new(Exchange, error), unsent, is_unanswered }
        })
    }
}

/// Removes the scheme and the host from the URI: HTTP/1.1 has them in the header `Host`.
fn make_relative(request: &mut Request<RequestContent>) {
    if request.method() != Method::CONNECT {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
}

/// Returns a copy of a request, if it may be sent twice.
pub(super) fn repeatable(request: &Request<RequestContent>) -> Option<Request<RequestContent>> {
    if !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// When a connection is used.
pub(super) struct Usage {
    requests: Cell<usize>,
    /// Since when it serves no request.
    idle_since: Cell<Instant>,
}

/// A request that uses a connection.
pub(super) struct InUse(Rc<Usage>);

impl Usage {
    fn new() -> Rc<Usage> {
        Rc::new(Usage { requests: Cell::new(0), idle_since: Cell::new(now()) })
    }

    pub(super) fn begin(self: &Rc<Usage>) -> InUse {
        self.requests.set(self.requests.get() + 1);
        InUse(Rc::clone(self))
    }
}

impl InUse {
    pub(super) fn usage(&self) -> &Rc<Usage> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.idle_since.set(now());
    }
}

/// Makes a connection, whose task is put into the group of `spawner`.
pub(super) async fn connect(
    key: &Key,
    settings: &ClientBuilder,
    spawner: &Spawner<()>,
) -> Result<(Sender, Rc<Usage>), ClientError> {
    let maker = Maker { settings, spawner };
    if let Some(path) = &settings.unix {
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|error| ClientError::new(Connect, error))?;
        return maker.start(stream, settings.http2_only).await;
    }
    let stream = TcpStream::connect((&*key.host, key.port)).await;
    let mut stream = stream.map_err(|error| ClientError::new(Connect, error))?;
    // A request is written as a whole. The option fails only for a connection that has ended.
    drop(stream.set_nodelay(true));
    if !key.is_tls {
        return maker.start(stream, settings.http2_only).await;
    }
    #[cfg(feature = "tls")]
    if let Some(connector) = &settings.tls {
        let stream = connector.connect(&key.host, stream).await;
        let stream = stream.map_err(|error| ClientError::new(Handshake, error))?;
        let is_http2 = stream.protocol() == Some(b"h2");
        return maker.start(stream, is_http2).await;
    }
    let text = "`https` needs the feature `tls` and `ClientBuilder::tls`";
    Err(ClientError::new(InvalidRequest, text))
}

struct Maker<'a> {
    settings: &'a ClientBuilder,
    spawner: &'a Spawner<()>,
}

impl Maker<'_> {
    /// Starts to speak HTTP on a stream.
    async fn start<T>(&self, stream: T, is_http2: bool) -> Result<(Sender, Rc<Usage>), ClientError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (io, usage) = (HyperIo::new(stream), Usage::new());
        let failed = |error| ClientError::new(Handshake, error);
        let sender = if is_http2 {
            let mut builder = http2::Builder::new(LocalExecutor::new(self.spawner.clone()));
            let (sender, connection) = builder.timer(Timer).handshake(io).await.map_err(failed)?;
            self.spawn(connection, &usage)?;
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(failed)?;
            self.spawn(connection.with_upgrades(), &usage)?;
            Sender::Http1(sender)
        };
        Ok((sender, usage))
    }

    fn spawn(
        &self,
        connection: impl Future<Output = hyper::Result<()>> + 'static,
        usage: &Rc<Usage>,
    ) -> Result<(), ClientError> {
        let task = drive(connection, Rc::clone(usage), self.settings.idle_timeout);
        self.spawner
            .spawn(task)
            .map(drop)
            .map_err(|_| ClientError::new(Exchange, "the client was dropped"))
    }
}

/// The task of a connection: ends with the connection, or when it was idle for too long.
async fn drive(
    connection: impl Future<Output = hyper::Result<()>>,
    usage: Rc<Usage>,
    idle_timeout: Duration,
) {
    let mut connection = pin!(connection);
    let mut timer = sleep(idle_timeout);
    poll_fn(|cx| {
        // An error is also that of the request that waits.
        if connection.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        loop {
            ready!(Pin::new(&mut timer).poll(cx));
            let idle_since = usage.idle_since.get();
            timer = match idle_since.checked_add(idle_timeout) {
                // fault: idle-connections-kept
                Some(due) if usage.requests.get() == 0 && due <= now() => {
                    return std::task::Poll::Ready(());
                }
                Some(due) if usage.requests.get() == 0 => sleep_until(due),
                _ => sleep(idle_timeout),
            };
        }
    })
    .await;
}
