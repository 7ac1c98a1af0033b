use std::io;
use std::net::{Shutdown, SocketAddr};

use super::{Read, TcpStream, Write, WriteAll};
use crate::access::Access;

/// A stream used through a shared reference; made by [`TcpStream::shared`].
///
/// Use by a task that does not own it is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner); outside a run it is an error of kind
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

    /// Reads what is there; see [`TcpStream::read`].
    #[track_caller]
    pub fn read<'b>(self, buf: &'b mut [u8]) -> Read<'b>
    where
        'a: 'b,
    {
        Read::new(self.stream, Access::Shared, buf)
    }

    /// Writes what there is room for; see [`TcpStream::write`].
    #[track_caller]
    pub fn write<'b>(self, buf: &'b [u8]) -> Write<'b>
    where
        'a: 'b,
    {
        Write::new(self.stream, Access::Shared, buf)
    }

    /// Writes all of `buf`; see [`TcpStream::write_all`].
    #[track_caller]
    pub fn write_all<'b>(self, buf: &'b [u8]) -> WriteAll<'b>
    where
        'a: 'b,
    {
        WriteAll::new(self.stream, Access::Shared, buf)
    }

    /// Ends one direction or both; see [`TcpStream::shutdown`].
    ///
    /// # Errors
    ///
    /// As [`TcpStream::shutdown`].
    #[track_caller]
    pub fn shutdown(self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown_by(Access::Shared, how)
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::peer_addr`].
    #[track_caller]
    pub fn peer_addr(self) -> io::Result<SocketAddr> {
        Access::Shared.verify(self.stream)?;
        self.stream.socket.peer_addr()
    }

    /// Returns this side's address.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<SocketAddr> {
        Access::Shared.verify(self.stream)?;
        self.stream.socket.local_addr()
    }
}
