//! The handshake.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
};
use hyper::upgrade::OnUpgrade;

use super::socket::Socket;
use super::transport::{Settings, run};
use crate::current::{current, spawn_upgraded};

/// A request for a WebSocket connection, which a handler can accept; see the [module](super).
///
/// With the feature `axum` it is an extractor:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::response::Response;
/// use axum::{Router, routing::get};
/// use matou_http::websocket::{Message, WebSocketUpgrade};
///
/// async fn greet(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.message_bytes_max(4096).on_upgrade(async |mut socket| {
///         while let Some(Message::Text(name)) = socket.recv().await {
///             let _ = socket.send(format!("hello {name}")).await;
///         }
///     })
/// }
/// let router: Router = Router::new().route("/greet", get(greet));
/// # let _ = router; }
/// ```
#[must_use = "the connection is accepted by `on_upgrade`"]
#[derive(Debug)]
pub struct WebSocketUpgrade {
    upgraded: OnUpgrade,
    accept: String,
    name: Arc<str>,
    requested: Vec<HeaderValue>,
    protocol: Option<HeaderValue>,
    settings: Settings,
}

impl WebSocketUpgrade {
    /// Takes the request for a WebSocket connection out of a request.
    ///
    /// # Errors
    ///
    /// [`WebSocketRejection`] if the request is not one.
    pub fn from_request<B>(
        request: &mut Request<B>,
    ) -> Result<WebSocketUpgrade, WebSocketRejection> {
        let accept = accept_key(request.method(), request.headers())?;
        let requested = requested_protocols(request.headers());
        let name = task_name(request.uri());
        WebSocketUpgrade::new(accept, name, requested, request.extensions_mut())
    }

    /// As [`from_request`](WebSocketUpgrade::from_request).
    ///
    /// # Errors
    ///
    /// As [`from_request`](WebSocketUpgrade::from_request).
    pub fn from_parts(parts: &mut Parts) -> Result<WebSocketUpgrade, WebSocketRejection> {
        let accept = accept_key(&parts.method, &parts.headers)?;
        let requested = requested_protocols(&parts.headers);
        WebSocketUpgrade::new(accept, task_name(&parts.uri), requested, &mut parts.extensions)
    }

    fn new(
        accept: String,
        name: Arc<str>,
        requested: Vec<HeaderValue>,
        extensions: &mut Extensions,
    ) -> Result<WebSocketUpgrade, WebSocketRejection> {
        Ok(WebSocketUpgrade {
            upgraded: extensions.remove().ok_or(WebSocketRejection::NotRequested)?,
            accept,
            name,
            requested,
            protocol: None,
            settings: Settings {
                message_bytes_max: 1 << 20,
                ping_interval: Duration::from_secs(30),
            },
        })
    }

    /// Sets the largest size of a message that the client may send. A larger one closes the
    /// connection with the code 1009. Default: 1 MiB.
    pub fn message_bytes_max(mut self, bytes: usize) -> WebSocketUpgrade {
        self.settings.message_bytes_max = bytes;
        self
    }

    /// Sets after which time the client is sent a ping. If nothing arrives from it until the next
    /// one, it has vanished, and the connection ends. Default: 30 s.
    pub fn ping_interval(mut self, interval: Duration) -> WebSocketUpgrade {
        self.settings.ping_interval = interval;
        self
    }

    /// Selects the first of `protocols` that the client has requested, if there is one.
    #[doc(alias = "subprotocol")]
    pub fn protocols<'a>(
        mut self,
        protocols: impl IntoIterator<Item = &'a str>,
    ) -> WebSocketUpgrade {
        let is_requested = |protocol: &&str| {
            let lists = self.requested.iter().filter_map(|list| list.to_str().ok());
            lists.flat_map(|list| list.split(',')).any(|requested| requested.trim() == *protocol)
        };
        let selected = protocols.into_iter().find(is_requested);
        self.protocol = selected.and_then(|protocol| HeaderValue::from_str(protocol).ok());
        self
    }

    /// Returns the selected protocol.
    pub fn selected_protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// Accepts the connection, by the response that the handler must return. Then `handler` runs
    /// with it, as a task of the connection; [`peer_addr`](crate::peer_addr) works there as well.
    ///
    /// # Panics
    ///
    /// Outside a handler that [`serve`](crate::serve) runs, such as in one of its children.
    #[track_caller]
    pub fn on_upgrade<P, F, B>(self, handler: P) -> Response<B>
    where
        P: FnOnce(Socket) -> F + 'static,
        F: Future<Output = ()> + 'static,
        B: Default,
    {
        let connection = current().expect("a WebSocket is accepted by the handler of its request");
        let WebSocketUpgrade { upgraded, accept, name, protocol, settings, .. } = self;
        let state = Rc::clone(&connection);
        spawn_upgraded(&connection, upgraded, move |io| run(io, settings, name, state, handler));
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::try_from(accept).expect("base64 is a valid header");
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// Checks the request, and returns the answer to its key.
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<String, WebSocketRejection> {
    if method != Method::GET {
        return Err(WebSocketRejection::Method);
    }
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(WebSocketRejection::NotRequested);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(WebSocketRejection::Version);
    }
    // The base64 of 16 bytes.
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    Ok(derive_accept_key(key.ok_or(WebSocketRejection::Key)?.as_bytes()))
}

fn requested_protocols(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect()
}

/// Returns the name of the handler's task.
fn task_name(uri: &Uri) -> Arc<str> {
    format!("websocket {}", uri.path()).into()
}

/// Returns whether a list in a header has the token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Why a request does not become a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketRejection {
    /// The method is not `GET`.
    Method,
    /// The request does not ask for a WebSocket, or not with HTTP/1.1.
    NotRequested,
    /// The client does not speak version 13 of the protocol, which is the only one.
    Version,
    /// The header `sec-websocket-key` is missing or malformed.
    Key,
}

impl WebSocketRejection {
    /// Returns the status for the client.
    pub fn status(self) -> StatusCode {
        match self {
            WebSocketRejection::Method => StatusCode::METHOD_NOT_ALLOWED,
            WebSocketRejection::NotRequested | WebSocketRejection::Version => {
                StatusCode::UPGRADE_REQUIRED
            }
            WebSocketRejection::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the response for the client: the status, and the reason as its body.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        match self {
            WebSocketRejection::NotRequested | WebSocketRejection::Version => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            WebSocketRejection::Method => {
                headers.insert(http::header::ALLOW, HeaderValue::from_static("GET"));
            }
            WebSocketRejection::Key => {}
        }
        response
    }
}

impl fmt::Display for WebSocketRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WebSocketRejection::Method => "a WebSocket request must use the method GET",
            WebSocketRejection::NotRequested => "the request does not ask for a WebSocket",
            WebSocketRejection::Version => "the version of a WebSocket request must be 13",
            WebSocketRejection::Key => "the key of the WebSocket request is missing or malformed",
        })
    }
}

impl Error for WebSocketRejection {}
