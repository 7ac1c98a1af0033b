#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod access;
mod error;
mod listener;
mod socket;
mod stream;
mod sys;

pub use listener::{ListenOptions, Pause, SharedListener, TcpListener};
pub use stream::{SharedStream, TcpStream};

/// The runtime that the sockets live in, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_runtime as runtime;
#[doc(no_inline)]
pub use std::net::Shutdown;

/// The named futures that the methods of this crate return.
pub mod futures {
    pub use crate::listener::Accept;
    pub use crate::stream::{Connect, ConnectTimeout, Read, Write, WriteAll};
}
