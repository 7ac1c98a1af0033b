//! Tests of crates that run on matou, one module per crate or protocol.
//!
//! A test that needs a program or a server which is not installed prints `not run: ..` and passes.

mod axum_router;
mod client;
mod postgres;
mod redis_server;
mod reqwest_client;
mod support;
mod tls;
mod websocket;
mod websocket_upgrade;
