//! The operations of Unix sockets alone.

mod connect;
mod datagram;
mod listener;
mod stream;

pub use connect::ConnectUnix;
pub use listener::UnixListenOptions;
pub use stream::UnixCredentials;

use crate::address::UnixName;
use crate::datagram::{DatagramSocket, DatagramSocketRef};
use crate::kind::Unix;
use crate::listener::{SocketListener, SocketListenerRef};
use crate::stream::{SocketStream, SocketStreamRef};

/// A connection over a Unix socket, owned by a task; see [`SocketStream`] for its methods.
pub type UnixStream = SocketStream<Unix>;

/// A [`UnixStream`] used through a shared reference; created by [`shared`](UnixStream::shared).
pub type UnixStreamRef<'a> = SocketStreamRef<'a, Unix>;

/// A Unix socket that accepts connections, owned by a task; see [`SocketListener`] for its methods.
pub type UnixListener = SocketListener<Unix>;

/// A [`UnixListener`] used through a shared reference; created by [`shared`](UnixListener::shared).
pub type UnixListenerRef<'a> = SocketListenerRef<'a, Unix>;

/// A Unix socket for datagrams, owned by a task; see [`DatagramSocket`] for its methods.
///
/// In contrast to UDP no datagram is lost: a send waits while the queue of the receiver is full.
pub type UnixDatagram = DatagramSocket<Unix>;

/// A [`UnixDatagram`] used through a shared reference; created by [`shared`](UnixDatagram::shared).
pub type UnixDatagramRef<'a> = DatagramSocketRef<'a, Unix>;

fn path(path: impl AsRef<std::path::Path>) -> UnixName {
    UnixName::from(path.as_ref())
}
