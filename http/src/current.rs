//! The connection whose handler runs.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Request;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;

use crate::connection_state::ConnectionState;
use crate::listener::PeerAddr;
use crate::upgraded::Upgraded;

thread_local! {
    static CURRENT: RefCell<Option<Rc<ConnectionState>>> = const { RefCell::new(None) };
}

pin_project! {
    /// Runs the future of a handler with its connection.
    pub(crate) struct InConnection<F> {
        // None in the children of tasks outside a handler, and while the future is polled.
        connection: Option<Rc<ConnectionState>>,
        #[pin]
        future: F,
    }
}

impl<F> InConnection<F> {
    pub(crate) fn new(connection: Rc<ConnectionState>, future: F) -> InConnection<F> {
        InConnection { connection: Some(connection), future }
    }

    /// Runs `future`, in another task, with the connection of the current code.
    pub(crate) fn inherit(future: F) -> InConnection<F> {
        InConnection { connection: current(), future }
    }
}

impl<F: Future> Future for InConnection<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        /// Takes the connection back, also if the future panics.
        struct Restore<'a> {
            connection: &'a mut Option<Rc<ConnectionState>>,
            outer: Option<Rc<ConnectionState>>,
        }
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                *self.connection = CURRENT.replace(self.outer.take());
            }
        }
        let this = self.project();
        let outer = CURRENT.replace(this.connection.take());
        let _restore = Restore { connection: this.connection, outer };
        this.future.poll(cx)
    }
}

/// Returns the connection whose handler or protocol runs.
pub(crate) fn current() -> Option<Rc<ConnectionState>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Returns the address of the client whose request the current code handles; `None` outside a
/// handler that [`serve`](crate::serve) runs, and in the children of a handler.
///
/// With the feature `axum`, [`PeerAddr`] is an extractor as well.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use http::Response;
/// use matou_http::service_fn;
///
/// let whoami = service_fn(|_| async {
///     let peer = matou_http::peer_addr().expect("in a handler");
///     Ok::<_, Infallible>(Response::new(peer.to_string()))
/// });
/// # let _ = whoami;
/// assert!(matou_http::peer_addr().is_none());
/// ```
#[doc(alias = "ConnectInfo")]
pub fn peer_addr() -> Option<PeerAddr> {
    CURRENT.with_borrow(|current| current.as_ref().map(|connection| connection.peer.clone()))
}

/// Takes over the connection of a request that asks for another protocol, such as a WebSocket.
///
/// A handler calls this, and then returns the response that accepts the protocol: with the status
/// 101 in HTTP/1, or a success for `CONNECT` in HTTP/2. After the response, `protocol` runs with
/// the connection, as a child of the connection's task: the server waits for it as for a request.
/// It does not run if the handler returns another response.
///
/// # Errors
///
/// [`UpgradeError`] if the request does not ask for another protocol, or outside a handler that
/// [`serve`](crate::serve) runs.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode, header::UPGRADE};
/// use matou_http::{RequestBody, UpgradeError, upgrade};
///
/// async fn handler(mut request: Request<RequestBody>) -> Result<Response<String>, UpgradeError> {
///     upgrade(&mut request, |connection| async move {
///         // .. read and write, with the traits of futures-io
///         drop(connection);
///     })?;
///     let mut response = Response::new(String::new());
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     response.headers_mut().insert(UPGRADE, "purr".parse().expect("a valid header"));
///     Ok(response)
/// }
/// # let _ = matou_http::service_fn(handler);
/// ```
#[doc(alias = "websocket")]
#[track_caller]
pub fn upgrade<B, P, F>(request: &mut Request<B>, protocol: P) -> Result<(), UpgradeError>
where
    P: FnOnce(Upgraded) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let connection = current().ok_or(UpgradeError::NoHandler)?;
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(UpgradeError::NotRequested);
    }
    spawn_upgraded(&connection, hyper::upgrade::on(request), protocol);
    Ok(())
}

/// Runs `protocol` with the connection as soon as the client has the response that accepts it.
#[track_caller]
pub(crate) fn spawn_upgraded<P, F>(
    connection: &Rc<ConnectionState>,
    upgraded: OnUpgrade,
    protocol: P,
) where
    P: FnOnce(Upgraded) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let task = async move {
        // It fails if the response does not accept, or if the client has left.
        if let Ok(upgraded) = upgraded.await {
            protocol(Upgraded::new(upgraded)).await;
        }
    };
    // Refused only if the connection is ending.
    drop(connection.spawner.spawn(InConnection::new(Rc::clone(connection), task)));
}

/// The error of [`upgrade`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The request does not ask for another protocol.
    NotRequested,
    /// The current code is not a handler that [`serve`](crate::serve) runs.
    NoHandler,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UpgradeError::NotRequested => "the request asks for no other protocol",
            UpgradeError::NoHandler => "upgrading outside the handler of a request",
        })
    }
}

impl Error for UpgradeError {}
