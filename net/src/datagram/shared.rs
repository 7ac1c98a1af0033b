use std::io;
use std::net::SocketAddr;

use super::{DatagramSocket, Recv, RecvFrom, SendDatagram};
use crate::access::AccessMode;
use crate::kind::{DatagramKind, Udp};
use crate::sys::Taking;

/// A datagram socket used through a shared reference; created by
/// [`shared`](DatagramSocket::shared).
///
/// Use by a task that is not the owner is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner). Outside a run it is an error of the kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied). Otherwise the methods are those of
/// [`DatagramSocket`].
#[derive(Debug)]
pub struct DatagramSocketRef<'a, K: DatagramKind> {
    socket: &'a DatagramSocket<K>,
}

impl<'a, K: DatagramKind> DatagramSocketRef<'a, K> {
    pub(super) fn new(socket: &'a DatagramSocket<K>) -> DatagramSocketRef<'a, K> {
        DatagramSocketRef { socket }
    }

    pub(crate) fn socket(self) -> &'a DatagramSocket<K> {
        self.socket
    }

    /// Sends a datagram to the connected peer; see [`DatagramSocket::send`].
    #[track_caller]
    pub fn send<'b>(self, buf: &'b [u8]) -> SendDatagram<'b>
    where
        'a: 'b,
    {
        SendDatagram::new(&self.socket.handle, AccessMode::Shared, buf, None)
    }

    /// Receives a datagram; see [`DatagramSocket::recv`].
    #[track_caller]
    pub fn recv<'b>(self, buf: &'b mut [u8]) -> Recv<'b>
    where
        'a: 'b,
    {
        Recv::new(&self.socket.handle, AccessMode::Shared, Taking::Take, buf)
    }

    /// Receives a datagram and the address of its sender; see [`DatagramSocket::recv_from`].
    #[track_caller]
    pub fn recv_from<'b>(self, buf: &'b mut [u8]) -> RecvFrom<'b, K>
    where
        'a: 'b,
    {
        RecvFrom::new(Recv::new(&self.socket.handle, AccessMode::Shared, Taking::Take, buf))
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// As [`DatagramSocket::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<K::Address> {
        self.socket.local_addr_as(AccessMode::Shared)
    }
}

// Not derived: a derive would require `K: Clone`.
impl<K: DatagramKind> Clone for DatagramSocketRef<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: DatagramKind> Copy for DatagramSocketRef<'_, K> {}

impl<'a> DatagramSocketRef<'a, Udp> {
    /// Sends a datagram to `address`; see [`UdpSocket::send_to`](super::UdpSocket::send_to).
    #[track_caller]
    pub fn send_to<'b>(self, buf: &'b [u8], address: SocketAddr) -> SendDatagram<'b>
    where
        'a: 'b,
    {
        self.socket.send_to_name(AccessMode::Shared, buf, address)
    }
}
