//! Tests of the HTTP server, one module per subject. Most of them run in simulated runs, with a
//! client that writes and reads the bytes of the protocol itself.

mod handler;
mod http1;
mod http2;
mod http2_frames;
mod keep_alive;
mod limits;
mod real;
mod shutdown;
mod support;
mod timeout_layer;
mod trailers;
mod upgrade;
