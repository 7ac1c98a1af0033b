//! Tests of the guarantees of sockets, one module per subject.

mod accept;
mod alloc;
mod close;
mod connect;
mod custom_driver;
mod echo;
mod owner;
mod simulated;
mod support;
mod transfer;
mod types;
