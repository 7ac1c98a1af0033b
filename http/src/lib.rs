#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn)]
#![doc(test(attr(deny(warnings))))]

#[cfg(feature = "axum")]
mod axum;
mod body;
#[cfg(feature = "client")]
pub mod client;
mod connection;
mod connection_state;
mod current;
mod error;
mod events;
mod executor;
mod handler;
mod io;
mod keep_alive;
mod limits;
mod listener;
mod outgoing;
mod sending;
mod serve;
mod serve_on_all;
mod served;
mod server_io;
mod service_fn;
mod shutting_down;
mod timeout_layer;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;
mod upgraded;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use body::{BodyError, RequestBody};
pub use current::{UpgradeError, peer_addr, upgrade};
pub use error::BoxError;
pub use events::Event;
pub use executor::{LocalExecutor, SendExecutor};
pub use handler::HttpService;
pub use io::HyperIo;
pub use keep_alive::{KeepAlive, keep_alive};
pub use limits::Limits;
pub use listener::{Listener, PeerAddr};
pub use serve::{Serve, Serving, serve};
pub use serve_on_all::serve_on_all;
pub use served::Served;
pub use service_fn::{ServiceFn, service_fn};
pub use shutting_down::{ShuttingDown, shutting_down};
pub use timeout_layer::{Timeout, TimeoutLayer, TimeoutResponse};
pub use timer::Timer;
pub use upgraded::Upgraded;

/// The sockets that servers listen on, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_net as net;
/// The runtime that the tasks run on, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_runtime as runtime;
