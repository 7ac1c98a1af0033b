//! Socket options and addresses of a stream.

use std::io;
use std::time::Duration;

use super::{SocketStream, TcpStream};
use crate::access::AccessMode;
use crate::kind::SocketKind;

impl TcpStream {
    /// Sets `TCP_NODELAY`: whether small writes are sent immediately instead of being collected.
    ///
    /// # Errors
    ///
    /// If the system reports an error; [`NotConnected`](io::ErrorKind::NotConnected) if the stream
    /// is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_nodelay(true)?;
    ///     stream.set_linger(Some(Duration::from_secs(1)))?;
    ///     stream.set_keepalive(Some(Duration::from_secs(60)))?;
    ///     assert!(stream.nodelay()?);
    ///     assert_eq!(stream.linger()?, Some(Duration::from_secs(1)));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn set_nodelay(&mut self, nodelay: bool) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_nodelay(nodelay)
    }

    /// Returns `TCP_NODELAY`: whether small writes are sent immediately.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn nodelay(&mut self) -> io::Result<bool> {
        AccessMode::Exclusive.check(self)?;
        self.backend().nodelay()
    }

    /// Sets `SO_LINGER`: for how long a close keeps trying to send the remaining bytes. A duration
    /// of zero discards them and resets the connection.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn set_linger(&mut self, linger: Option<Duration>) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_linger(linger)
    }

    /// Returns `SO_LINGER`: for how long a close keeps trying to send the remaining bytes.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn linger(&mut self) -> io::Result<Option<Duration>> {
        AccessMode::Exclusive.check(self)?;
        self.backend().linger()
    }

    /// Sets after which idle time the system checks that the peer is still reachable
    /// (`SO_KEEPALIVE`). With `None` it never does.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn set_keepalive(&mut self, idle: Option<Duration>) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_keepalive(idle)
    }
}

impl<K: SocketKind> SocketStream<K> {
    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the stream is closed, by this side or by
    /// the peer.
    #[track_caller]
    pub fn peer_addr(&mut self) -> io::Result<K::Address> {
        self.peer_addr_as(AccessMode::Exclusive)
    }

    /// Returns the local address of the connection.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<K::Address> {
        self.local_addr_as(AccessMode::Exclusive)
    }

    #[track_caller]
    pub(super) fn peer_addr_as(&self, mode: AccessMode) -> io::Result<K::Address> {
        mode.check(self)?;
        K::address(self.backend().peer_addr()?)
    }

    #[track_caller]
    pub(super) fn local_addr_as(&self, mode: AccessMode) -> io::Result<K::Address> {
        mode.check(self)?;
        K::address(Some(self.backend().local_addr()?))
    }
}
