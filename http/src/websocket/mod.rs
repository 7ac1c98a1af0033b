//! WebSocket connections, by [tungstenite].
//!
//! [`WebSocketUpgrade`] accepts a connection in a handler, and is an extractor of axum with the
//! feature `axum`. The function that it is given then runs as a task with a [`Socket`], which
//! can be split into halves for two tasks. Nothing need be `Send`.
//!
//! The task of the connection does the rest, whatever the function waits for: it answers pings, it
//! pings a client that may have vanished, it limits the size of messages, and it performs the close
//! handshake. **At a shutdown of the server** clients receive the close code 1001 ("going away")
//! behind the messages that are queued. After the end of a connection, [`recv`](Socket::recv)
//! returns `None`, and the function has five seconds to return before its task is cancelled.
//!
//! What a connection costs at most: ten messages of the
//! [largest size](WebSocketUpgrade::message_bytes_max) in memory, and the client's silence for
//! twice the [ping interval](WebSocketUpgrade::ping_interval). For the drain timeout, connections
//! count as requests in progress. WebSockets over HTTP/2 (RFC 8441) are not supported; browsers use
//! HTTP/1 for them.
//!
//! A browser sends WebSocket requests of any page to any server, with the user's cookies. A server
//! that relies on cookies must compare the header `origin`.
//!
//! [`accept`] gives the bare stream of tungstenite instead, a [`WebSocket`], and leaves all of this
//! to its function.
//!
//! # Examples
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use matou_http::RequestBody;
//! use matou_http::websocket::{Socket, WebSocketUpgrade};
//!
//! async fn echo(mut socket: Socket) {
//!     while let Some(message) = socket.recv().await {
//!         if socket.send(message).await.is_err() {
//!             break;
//!         }
//!     }
//! }
//!
//! async fn handler(mut request: Request<RequestBody>) -> Result<Response<String>, Infallible> {
//!     Ok(match WebSocketUpgrade::from_request(&mut request) {
//!         Ok(upgrade) => upgrade.on_upgrade(echo),
//!         Err(rejection) => rejection.into_response(),
//!     })
//! }
//! # let _ = matou_http::service_fn(handler);
//! ```

mod accept;
mod socket;
mod transport;
mod upgrade;

/// The library that implements the protocol.
#[doc(no_inline)]
pub use async_tungstenite::tungstenite;

#[doc(no_inline)]
pub use tungstenite::protocol::frame::coding::CloseCode;
#[doc(no_inline)]
pub use tungstenite::{Bytes, Message, Utf8Bytes};

pub use accept::{WebSocket, WebSocketError, accept};
pub use socket::{Closed, Socket, SocketReceiver, SocketSender};
pub use upgrade::{WebSocketRejection, WebSocketUpgrade};
