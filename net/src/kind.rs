//! The kinds of stream sockets, which share their code.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// A kind of stream socket: [`Tcp`] or [`Unix`].
///
/// [`TcpStream`](crate::TcpStream) and [`UnixStream`](crate::UnixStream) are the two kinds of
/// [`SocketStream`](crate::SocketStream); so code that is generic over `K: SocketKind` serves both.
/// Other crates cannot implement this trait.
pub trait SocketKind: sealed::Sealed + fmt::Debug + Send + Sync + Unpin + 'static {
    /// The addresses of sockets of this kind.
    type Address: Clone + fmt::Debug + Send + Sync + Unpin + 'static;
    /// The streams of this kind in the standard library.
    type StdStream: From<OwnedFd> + Into<OwnedFd>;
    /// The listeners of this kind in the standard library.
    type StdListener: From<OwnedFd> + Into<OwnedFd>;
}

/// The kind of TCP sockets.
#[derive(Clone, Copy, Debug)]
pub enum Tcp {}

impl SocketKind for Tcp {
    type Address = SocketAddr;
    type StdStream = std::net::TcpStream;
    type StdListener = std::net::TcpListener;
}

/// The kind of Unix sockets.
#[derive(Clone, Copy, Debug)]
pub enum Unix {}

impl SocketKind for Unix {
    type Address = std::os::unix::net::SocketAddr;
    type StdStream = std::os::unix::net::UnixStream;
    type StdListener = std::os::unix::net::UnixListener;
}

impl DatagramKind for Unix {
    type Address = std::os::unix::net::SocketAddr;
    type Std = std::os::unix::net::UnixDatagram;
}

/// A kind of datagram socket: [`Udp`] or [`Unix`].
///
/// [`UdpSocket`](crate::UdpSocket) and [`UnixDatagram`](crate::UnixDatagram) are the two kinds of
/// [`DatagramSocket`](crate::DatagramSocket). Other crates cannot implement this trait.
pub trait DatagramKind:
    sealed::SealedDatagram + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// The addresses of sockets of this kind.
    type Address: Clone + fmt::Debug + Send + Sync + Unpin + 'static;
    /// The sockets of this kind in the standard library.
    type Std: From<OwnedFd> + Into<OwnedFd>;
}

/// The kind of UDP sockets.
#[derive(Clone, Copy, Debug)]
pub enum Udp {}

impl DatagramKind for Udp {
    type Address = SocketAddr;
    type Std = std::net::UdpSocket;
}

pub(crate) mod sealed {
    use std::io;
    use std::net::SocketAddr;

    use super::{DatagramKind, SocketKind, Tcp, Udp, Unix};
    use crate::address::{Address, UnixName};
    use crate::sys::to_std_unix;

    /// The parts of a kind that are no part of the interface.
    pub trait Sealed: Sized {
        /// The names of resources in reports.
        const STREAM: &'static str;
        const READ_HALF: &'static str;
        const WRITE_HALF: &'static str;
        const LISTENER: &'static str;

        /// Converts the address of a socket; `None` stands for a peer without an address.
        #[doc(hidden)]
        fn address(address: Option<Address>) -> io::Result<<Self as SocketKind>::Address>
        where
            Self: SocketKind;
    }

    impl Sealed for Tcp {
        const STREAM: &'static str = "tcp stream";
        const READ_HALF: &'static str = "tcp read half";
        const WRITE_HALF: &'static str = "tcp write half";
        const LISTENER: &'static str = "tcp listener";

        fn address(address: Option<Address>) -> io::Result<SocketAddr> {
            match address {
                Some(Address::Ip(address)) => Ok(address),
                Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "not an IP socket")),
                // Some systems return no address for a connection that its peer has closed already.
                None => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    /// The parts of a kind of datagram socket that are no part of the interface.
    pub trait SealedDatagram: Sized {
        /// The name of the resource in reports.
        const NAME: &'static str;

        /// Converts the address of a socket; `None` stands for a peer without an address.
        #[doc(hidden)]
        fn address(address: Option<Address>) -> io::Result<<Self as DatagramKind>::Address>
        where
            Self: DatagramKind;
    }

    impl SealedDatagram for Udp {
        const NAME: &'static str = "udp socket";

        fn address(address: Option<Address>) -> io::Result<SocketAddr> {
            match address {
                Some(Address::Ip(address)) => Ok(address),
                _ => Err(io::Error::new(io::ErrorKind::Unsupported, "not an IP socket")),
            }
        }
    }

    impl Sealed for Unix {
        const STREAM: &'static str = "unix stream";
        const READ_HALF: &'static str = "unix read half";
        const WRITE_HALF: &'static str = "unix write half";
        const LISTENER: &'static str = "unix listener";

        fn address(address: Option<Address>) -> io::Result<std::os::unix::net::SocketAddr> {
            unix_address(address)
        }
    }

    impl SealedDatagram for Unix {
        const NAME: &'static str = "unix datagram socket";

        fn address(address: Option<Address>) -> io::Result<std::os::unix::net::SocketAddr> {
            unix_address(address)
        }
    }

    /// Some systems return no address of an unnamed socket.
    fn unix_address(address: Option<Address>) -> io::Result<std::os::unix::net::SocketAddr> {
        match address {
            Some(Address::Unix(name)) => to_std_unix(&name),
            Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "not a Unix socket")),
            None => to_std_unix(&UnixName::Unnamed),
        }
    }
}
