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

#[doc(no_inline)]
pub use std::net::Shutdown;

/// The named futures that the methods of this crate return.
pub mod futures {
    pub use crate::listener::Accept;
    pub use crate::stream::{Connect, ConnectTimeout, Read, Write, WriteAll};
}
