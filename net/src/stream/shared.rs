use std::io;
use std::net::{Shutdown, SocketAddr};

use super::{Read, TcpStream, Write, WriteAll};
use crate::access::AccessMode;

/// A stream used through a shared reference; created by [`TcpStream::shared`].
///
/// Use by a task that is not the owner is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner). Outside a run it is an error of the kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied). Otherwise the methods are those of
/// [`TcpStream`].
#[derive(Clone, Copy, Debug)]
pub struct TcpStreamRef<'a> {
    stream: &'a TcpStream,
}

impl<'a> TcpStreamRef<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> TcpStreamRef<'a> {
        TcpStreamRef { stream }
    }

    /// Reads available bytes; see [`TcpStream::read`].
    #[track_caller]
    pub fn read<'b>(self, buf: &'b mut [u8]) -> Read<'b>
    where
        'a: 'b,
    {
        Read::new(self.stream, AccessMode::Shared, buf)
    }

    /// Writes a prefix of `buf`; see [`TcpStream::write`].
    #[track_caller]
    pub fn write<'b>(self, buf: &'b [u8]) -> Write<'b>
    where
        'a: 'b,
    {
        Write::new(self.stream, AccessMode::Shared, buf)
    }

    /// Writes all of `buf`; see [`TcpStream::write_all`].
    #[track_caller]
    pub fn write_all<'b>(self, buf: &'b [u8]) -> WriteAll<'b>
    where
        'a: 'b,
    {
        WriteAll::new(self.stream, AccessMode::Shared, buf)
    }

    /// Shuts down one or both directions; see [`TcpStream::shutdown`].
    ///
    /// # Errors
    ///
    /// As [`TcpStream::shutdown`].
    #[track_caller]
    pub fn shutdown(self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown_as(AccessMode::Shared, how)
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::peer_addr`].
    #[track_caller]
    pub fn peer_addr(self) -> io::Result<SocketAddr> {
        AccessMode::Shared.check(self.stream)?;
        self.stream.socket.backend().peer_addr()
    }

    /// Returns the local address of the connection.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<SocketAddr> {
        AccessMode::Shared.check(self.stream)?;
        self.stream.socket.backend().local_addr()
    }
}
