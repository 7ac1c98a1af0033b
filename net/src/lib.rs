#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod access;
mod error;
mod listener;
mod simulated;
mod socket;
mod stream;
mod sys;

pub use listener::{AcceptPause, ListenOptions, TcpListener, TcpListenerRef};
pub use stream::{TcpStream, TcpStreamRef};

/// The runtime that the sockets live in, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_runtime as runtime;
#[doc(no_inline)]
pub use std::net::Shutdown;

/// The network in memory that the sockets of a [simulated](matou_runtime::test) run live in.
///
/// A test body uses [`TcpListener`] and [`TcpStream`] as any program does; this says how rough
/// their network is. Every address exists, from `127.0.0.1` to `[2001:db8::1]`, and nothing of the
/// system is touched.
pub mod test {
    pub use crate::simulated::{Counters, Faults, counters, set_faults};
}

/// The named futures that the methods of this crate return.
pub mod futures {
    pub use crate::listener::Accept;
    pub use crate::stream::{Connect, ConnectTimeout, Read, Write, WriteAll};
}
