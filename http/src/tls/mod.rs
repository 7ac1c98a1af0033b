//! TLS: a listener for servers, a connector for clients, and their stream.
//!
//! The protocol is that of [rustls] through [futures-rustls], with the provider `ring`. A
//! configuration with another provider works as well: [`TlsListener::new`] and
//! [`TlsConnector::new`] accept any. [`server_config`] and [`client_config`] make the usual ones.
//!
//! [futures-rustls]: https://docs.rs/futures-rustls
//!
//! # Examples
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use matou_http::net::TcpListener;
//! use matou_http::runtime::{RunError, run};
//! use matou_http::serve;
//! use matou_http::tls::{TlsListener, server_config};
//!
//! # fn main() -> Result<(), RunError> {
//! run(async {
//!     let config = server_config(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
//!     let listener = TlsListener::new(TcpListener::bind("127.0.0.1:3000")?, config);
//!     serve(listener, Router::new().route("/", get(|| async { "purr" }))).await?;
//!     Ok(())
//! })
//! # }
//! ```

mod config;
mod connector;
mod listener;
mod stream;

pub use config::{ConfigError, client_config, server_config};
pub use connector::TlsConnector;
pub use listener::TlsListener;
pub use stream::TlsStream;

/// The library that implements the protocol.
#[doc(no_inline)]
pub use futures_rustls::rustls;
