//! Sources of connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixSocketAddr;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use matou_net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A source of connections for [`serve`](crate::serve): a [`TcpListener`] or a [`UnixListener`], or
/// one that wraps them.
pub trait Listener {
    /// The streams of the connections.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Only if the listener can never work again: that ends the server. An error of one connection,
    /// or of a system that is out of descriptors for some time, must not be returned.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, PeerAddr)>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    #[track_caller]
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, PeerAddr)>> {
        let (mut stream, peer) = ready!(TcpListener::poll_accept(self, cx))?;
        // A response is written as a whole: no reason to wait for more. The option fails only for a
        // connection that has ended.
        drop(stream.set_nodelay(true));
        Poll::Ready(Ok((stream, PeerAddr::Tcp(peer))))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    #[track_caller]
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, PeerAddr)>> {
        let (stream, peer) = ready!(UnixListener::poll_accept(self, cx))?;
        Poll::Ready(Ok((stream, PeerAddr::Unix(peer))))
    }
}

/// The address of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PeerAddr {
    /// Of a TCP connection.
    Tcp(SocketAddr),
    /// Of a Unix socket, usually without a name.
    Unix(UnixSocketAddr),
}

impl PeerAddr {
    /// Returns the address of a TCP connection.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            PeerAddr::Tcp(address) => Some(*address),
            PeerAddr::Unix(_) => None,
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(address) => address.fmt(f),
            PeerAddr::Unix(address) => match address.as_pathname() {
                Some(path) => write!(f, "unix:{}", path.display()),
                None => f.write_str("unix"),
            },
        }
    }
}
