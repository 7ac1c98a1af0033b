//! The bare stream of a WebSocket.

use std::error::Error;
use std::fmt;
use std::future::Future;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};

use crate::current::{UpgradeError, upgrade};
use crate::upgraded::Upgraded;

/// A WebSocket of a server: a stream and a sink of messages. `futures::StreamExt::split` makes two
/// halves, for two tasks.
pub type WebSocket = WebSocketStream<Upgraded>;

/// Accepts a WebSocket. The handler returns the response; then `protocol` runs with the socket, as
/// with [`upgrade`](crate::upgrade()): it is a child of the connection's task.
///
/// `config` limits the sizes of messages; `None` means those of tungstenite, 64 MiB for a message
/// and 16 MiB for a frame. A protocol should end at [`shutting_down`](crate::shutting_down), for
/// example with a close frame of the code `Away`.
///
/// Pings, limits and the close handshake are left to `protocol`, in contrast to
/// [`WebSocketUpgrade`](super::WebSocketUpgrade).
///
/// # Errors
///
/// If the request does not ask for a WebSocket of version 13. The client should get the status
/// 400.
///
/// # Examples
///
/// A handler of axum that sends each message back:
///
/// ```
/// use axum::Router;
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::response::{IntoResponse, Response};
/// use axum::routing::get;
/// use futures::StreamExt;
/// use matou_http::websocket::{self, WebSocket};
///
/// async fn echo(mut socket: WebSocket) {
///     while let Some(Ok(message)) = socket.next().await {
///         if message.is_close() || socket.send(message).await.is_err() {
///             break;
///         }
///     }
/// }
///
/// async fn handler(mut request: Request) -> Response {
///     match websocket::accept(&mut request, None, echo) {
///         Ok(response) => response,
///         Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
///     }
/// }
///
/// let router: Router = Router::new().route("/echo", get(handler));
/// # let _ = router;
/// ```
pub fn accept<B, R, P, F>(
    request: &mut Request<B>,
    config: Option<WebSocketConfig>,
    protocol: P,
) -> Result<Response<R>, WebSocketError>
where
    R: Default,
    P: FnOnce(WebSocket) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let key = check(request)?;
    upgrade(request, move |connection| async move {
        protocol(WebSocketStream::from_raw_socket(connection, Role::Server, config).await).await;
    })?;
    let mut response = Response::new(R::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    Ok(response)
}

/// Returns the value that accepts the key of the client.
fn check<B>(request: &Request<B>) -> Result<HeaderValue, WebSocketError> {
    let has = |name: HeaderName, word: &str| {
        let values = request.headers().get_all(name).into_iter();
        let words = values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
        words.into_iter().any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    if request.method() != Method::GET || !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade")
    {
        return Err(WebSocketError::NotRequested);
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(WebSocketError::Version);
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY).ok_or(WebSocketError::NoKey)?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| WebSocketError::NoKey)
}

/// Why [`accept`] refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The request does not ask for a WebSocket over HTTP/1.1.
    NotRequested,
    /// The client speaks another version of the protocol than 13.
    Version,
    /// The request has no key.
    NoKey,
    /// The code runs outside a handler of [`serve`](crate::serve).
    NoHandler,
}

impl From<UpgradeError> for WebSocketError {
    fn from(error: UpgradeError) -> WebSocketError {
        match error {
            UpgradeError::NoHandler => WebSocketError::NoHandler,
            UpgradeError::NotRequested => WebSocketError::NotRequested,
        }
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WebSocketError::NotRequested => "the request does not ask for a WebSocket",
            WebSocketError::Version => "the version of the WebSocket protocol must be 13",
            WebSocketError::NoKey => "the request has no valid Sec-WebSocket-Key",
            WebSocketError::NoHandler => "a WebSocket is accepted in a handler of `serve` only",
        })
    }
}

impl Error for WebSocketError {}
