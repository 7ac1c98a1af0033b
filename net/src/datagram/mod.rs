mod handle;
mod shared;
mod transfer;
mod udp;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use matou_ownership::{Resource, ResourceHandle, Ticket};

pub use shared::DatagramSocketRef;
pub use transfer::{Recv, RecvFrom, SendDatagram};
pub use udp::UdpOptions;

use crate::access::AccessMode;
use crate::address::Address;
use crate::backend::{Backend, DatagramBackend};
use crate::kind::{DatagramKind, Udp};
use crate::sys::Taking;
use handle::DatagramHandle;

/// A UDP socket, owned by a task; see [`DatagramSocket`] for its methods.
pub type UdpSocket = DatagramSocket<Udp>;

/// A socket for datagrams, owned by a task: a [`UdpSocket`] or a
/// [`UnixDatagram`](crate::UnixDatagram).
///
/// A datagram is received as a whole. If the buffer is shorter, the rest of the datagram is lost.
///
/// The ownership is that of a [`SocketStream`](crate::SocketStream): the task that uses a socket by
/// `&mut` becomes its owner. To receive and send at the same time in one task, use
/// [`shared`](DatagramSocket::shared).
///
/// # Examples
///
/// ```
/// use matou_net::UdpSocket;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut server = UdpSocket::bind("127.0.0.1:0")?;
///     let mut client = UdpSocket::bind("127.0.0.1:0")?;
///     client.connect(server.local_addr()?)?;
///     client.send(b"purr").await?;
///
///     let mut buf = [0; 1500];
///     let (count, from) = server.recv_from(&mut buf).await?;
///     assert_eq!((&buf[..count], from), (&b"purr"[..], client.local_addr()?));
///     server.send_to(b"hiss", from).await?;
///     assert_eq!(client.recv(&mut buf).await?, 4);
///     Ok(())
/// })
/// # }
/// ```
pub struct DatagramSocket<K: DatagramKind> {
    handle: DatagramHandle,
    kind: PhantomData<fn() -> K>,
}

impl<K: DatagramKind> DatagramSocket<K> {
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: DatagramBackend) -> DatagramSocket<K> {
        DatagramSocket { handle: DatagramHandle::new(ticket, backend), kind: PhantomData }
    }

    /// Takes a socket of the standard library, and puts it into non-blocking mode.
    ///
    /// This is the way to set options that this crate does not have: `socket2::Socket` sets them
    /// all, and converts to a socket of the standard library.
    ///
    /// # Errors
    ///
    /// If the system cannot change the mode; [`Unsupported`](io::ErrorKind::Unsupported) in a
    /// [simulated](matou_runtime::test) run.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn from_std(socket: K::Std) -> io::Result<DatagramSocket<K>> {
        let ticket = Ticket::new(K::NAME);
        Ok(DatagramSocket::new(ticket, Backend::from_fd(socket.into())?))
    }

    /// Converts the socket into one of the standard library, which no task owns. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<K::Std> {
        AccessMode::Exclusive.check(&self)?;
        self.backend().take_fd().map(K::Std::from)
    }

    /// Sends a datagram to the peer that the socket is connected to. Returns its length.
    ///
    /// # Errors
    ///
    /// - If the socket is not connected, or the datagram is longer than the protocol permits.
    /// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the host of the peer has
    ///   answered an earlier datagram that no socket receives it. The current one is not sent then.
    /// - [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn send<'a>(&'a mut self, buf: &'a [u8]) -> SendDatagram<'a> {
        SendDatagram::new(&self.handle, AccessMode::Exclusive, buf, None)
    }

    /// Receives a datagram, or waits for one. Returns the number of bytes that `buf` contains then.
    ///
    /// A socket that is connected receives datagrams of its peer only.
    ///
    /// # Errors
    ///
    /// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) on a connected socket if the host
    ///   of the peer has answered that no socket receives what was sent.
    /// - [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn recv<'a>(&'a mut self, buf: &'a mut [u8]) -> Recv<'a> {
        Recv::new(&self.handle, AccessMode::Exclusive, Taking::Take, buf)
    }

    /// As [`recv`](DatagramSocket::recv), and returns the address of the sender as well.
    ///
    /// # Errors
    ///
    /// As [`recv`](DatagramSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn recv_from<'a>(&'a mut self, buf: &'a mut [u8]) -> RecvFrom<'a, K> {
        RecvFrom::new(Recv::new(&self.handle, AccessMode::Exclusive, Taking::Take, buf))
    }

    /// Copies the next datagram, or waits for one. A later receive returns it again.
    ///
    /// # Errors
    ///
    /// As [`recv`](DatagramSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::UdpSocket;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let address = socket.local_addr()?;
    ///     socket.send_to(b"purr", address).await?;
    ///     let mut buf = [0; 16];
    ///     assert_eq!(socket.peek(&mut buf).await?, 4);
    ///     assert_eq!(socket.try_recv_from(&mut buf)?, (4, address));
    ///     assert!(socket.try_recv(&mut buf).is_err()); // `WouldBlock`
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "MSG_PEEK")]
    #[track_caller]
    pub fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Recv<'a> {
        Recv::new(&self.handle, AccessMode::Exclusive, Taking::Peek, buf)
    }

    /// As [`peek`](DatagramSocket::peek), and returns the address of the sender as well.
    ///
    /// # Errors
    ///
    /// As [`recv`](DatagramSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn peek_from<'a>(&'a mut self, buf: &'a mut [u8]) -> RecvFrom<'a, K> {
        RecvFrom::new(Recv::new(&self.handle, AccessMode::Exclusive, Taking::Peek, buf))
    }

    /// Receives a datagram that is available now. It spends no budget: a loop must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; otherwise as
    /// [`recv`](DatagramSocket::recv).
    #[track_caller]
    pub fn try_recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        AccessMode::Exclusive.check(self)?;
        Ok(self.backend().try_recv(buf)?.0)
    }

    /// Receives a datagram that is available now, and returns the address of its sender as well. It
    /// spends no budget: a loop must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; otherwise as
    /// [`recv`](DatagramSocket::recv).
    #[track_caller]
    pub fn try_recv_from(&mut self, buf: &mut [u8]) -> io::Result<(usize, K::Address)> {
        AccessMode::Exclusive.check(self)?;
        let (count, from) = self.backend().try_recv(buf)?;
        Ok((count, K::address(from)?))
    }

    /// Sends a datagram to the connected peer, if the system accepts it now. It spends no budget: a
    /// loop must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it does not; otherwise as
    /// [`send`](DatagramSocket::send).
    #[track_caller]
    pub fn try_send(&mut self, buf: &[u8]) -> io::Result<usize> {
        AccessMode::Exclusive.check(self)?;
        self.backend().try_send(buf, None)
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<K::Address> {
        self.local_addr_as(AccessMode::Exclusive)
    }

    /// Returns the address of the peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if there is none.
    #[track_caller]
    pub fn peer_addr(&mut self) -> io::Result<K::Address> {
        AccessMode::Exclusive.check(self)?;
        K::address(self.backend().peer_addr()?)
    }

    /// Returns a view whose methods take a shared reference: to receive and send at the same time
    /// within one task, or for a socket in an `Arc`, which `Task::give` gives to a child. Only the
    /// owner may use it.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::UdpSocket;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let address = socket.local_addr()?;
    ///     let (shared, mut buf) = (socket.shared(), [0; 16]);
    ///     let receive = shared.recv_from(&mut buf);
    ///     let (received, sent) = futures::join!(receive, shared.send_to(b"purr", address));
    ///     assert_eq!((received?, sent?), ((4, address), 4));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn shared(&self) -> DatagramSocketRef<'_, K> {
        DatagramSocketRef::new(self)
    }

    /// Closes the socket, as dropping it does.
    pub fn close(self) {}

    pub(crate) fn backend(&self) -> &DatagramBackend {
        self.handle.backend()
    }

    #[track_caller]
    pub(crate) fn send_to_name<'a>(
        &'a self,
        mode: AccessMode,
        buf: &'a [u8],
        to: impl Into<Address>,
    ) -> SendDatagram<'a> {
        SendDatagram::new(&self.handle, mode, buf, Some(to.into()))
    }

    #[track_caller]
    fn local_addr_as(&self, mode: AccessMode) -> io::Result<K::Address> {
        mode.check(self)?;
        K::address(Some(self.backend().local_addr()?))
    }
}

impl<K: DatagramKind> ResourceHandle for DatagramSocket<K> {
    fn ticket(&self) -> &Ticket {
        self.handle.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.handle.resource()
    }
}

impl<K: DatagramKind> fmt::Debug for DatagramSocket<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramSocket")
            .field("kind", &K::NAME)
            .field("handle", &self.handle)
            .finish()
    }
}
