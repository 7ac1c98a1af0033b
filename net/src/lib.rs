#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

#[cfg(not(unix))]
compile_error!("matou-net supports Unix systems only; another system needs its own `net/src/sys/`");

mod access;
mod address;
mod backend;
mod connect_options;
mod copy;
mod datagram;
mod error;
mod kind;
mod lines;
mod listen_options;
mod listener;
mod resolve;
mod retry;
mod simulated;
mod socket;
mod stream;
mod sys;
mod to_address;
mod unix;

pub use connect_options::ConnectOptions;
pub use copy::{copy, copy_bidirectional};
pub use datagram::{DatagramSocket, DatagramSocketRef, UdpOptions, UdpSocket};
pub use kind::{DatagramKind, SocketKind, Tcp, Udp, Unix};
pub use lines::LineReader;
pub use listen_options::ListenOptions;
pub use listener::{AcceptPause, SocketListener, SocketListenerRef, TcpListener, TcpListenerRef};
pub use resolve::lookup_host;
pub use stream::{
    Ending, FinishLimit, ReadHalf, ReuniteError, SocketStream, SocketStreamRef, TcpStream,
    TcpStreamRef, WriteHalf,
};
pub use to_address::ToAddress;

pub use unix::{
    UnixCredentials, UnixDatagram, UnixDatagramRef, UnixListenOptions, UnixListener,
    UnixListenerRef, UnixStream, UnixStreamRef,
};

/// The runtime that the sockets run on, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_runtime as runtime;
#[doc(no_inline)]
pub use std::net::Shutdown;

/// The in-memory network of [simulated](matou_runtime::test) runs.
///
/// A test body uses [`TcpListener`], [`TcpStream`], [`UdpSocket`] and the Unix sockets like any
/// other program. This module sets the faults of their network and counts its events. Every address
/// exists, from `127.0.0.1` to `[2001:db8::1]`, and no resource of the operating system is used.
pub mod test {
    pub use crate::simulated::{Counters, Faults, add_host, counters, set_faults};
}

/// The named futures that the methods of this crate return.
pub mod futures {
    pub use crate::copy::{CopyAll, CopyBidirectional};
    pub use crate::datagram::{Recv, RecvFrom, SendDatagram};
    pub use crate::lines::NextLine;
    pub use crate::listener::Accept;
    pub use crate::resolve::LookupHost;
    pub use crate::stream::{
        Connect, ConnectAny, ConnectHost, ConnectTimeout, Finish, Peek, Read, Write, WriteAll,
    };
    pub use crate::unix::ConnectUnix;
}
