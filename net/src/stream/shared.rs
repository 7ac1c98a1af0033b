use std::io;
use std::net::Shutdown;

use super::{Read, SocketStream, Write, WriteAll};
use crate::access::AccessMode;
use crate::kind::SocketKind;

/// A stream used through a shared reference; created by [`shared`](SocketStream::shared).
///
/// Use by a task that is not the owner is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner). Outside a run it is an error of the kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied). Otherwise the methods are those of
/// [`SocketStream`].
#[derive(Debug)]
pub struct SocketStreamRef<'a, K: SocketKind> {
    stream: &'a SocketStream<K>,
}

impl<'a, K: SocketKind> SocketStreamRef<'a, K> {
    pub(super) fn new(stream: &'a SocketStream<K>) -> SocketStreamRef<'a, K> {
        SocketStreamRef { stream }
    }

    /// Reads available bytes; see [`SocketStream::read`].
    #[track_caller]
    pub fn read<'b>(self, buf: &'b mut [u8]) -> Read<'b>
    where
        'a: 'b,
    {
        Read::new(&self.stream.handle, AccessMode::Shared, buf)
    }

    /// Writes a prefix of `buf`; see [`SocketStream::write`].
    #[track_caller]
    pub fn write<'b>(self, buf: &'b [u8]) -> Write<'b>
    where
        'a: 'b,
    {
        Write::new(&self.stream.handle, AccessMode::Shared, buf)
    }

    /// Writes all of `buf`; see [`SocketStream::write_all`].
    #[track_caller]
    pub fn write_all<'b>(self, buf: &'b [u8]) -> WriteAll<'b>
    where
        'a: 'b,
    {
        WriteAll::new(&self.stream.handle, AccessMode::Shared, buf)
    }

    /// Shuts down one or both directions; see [`SocketStream::shutdown`].
    ///
    /// # Errors
    ///
    /// As [`SocketStream::shutdown`].
    #[track_caller]
    pub fn shutdown(self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown_as(AccessMode::Shared, how)
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// As [`SocketStream::peer_addr`].
    #[track_caller]
    pub fn peer_addr(self) -> io::Result<K::Address> {
        self.stream.peer_addr_as(AccessMode::Shared)
    }

    /// Returns the local address of the connection.
    ///
    /// # Errors
    ///
    /// As [`SocketStream::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<K::Address> {
        self.stream.local_addr_as(AccessMode::Shared)
    }
}

// Not derived: a derive would require `K: Clone`.
impl<K: SocketKind> Clone for SocketStreamRef<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: SocketKind> Copy for SocketStreamRef<'_, K> {}
