//! The operations of UDP sockets alone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use matou_ownership::Ticket;

use super::{SendDatagram, UdpSocket};
use crate::access::AccessMode;
use crate::backend::Backend;
use crate::error::with_context;
use crate::kind::Udp;
use crate::kind::sealed::SealedDatagram;
use crate::sys::{BindOptions, Multicast};
use crate::to_address::ToAddress;

/// Options that a UDP socket needs before it is bound; created by [`UdpSocket::options`].
///
/// # Examples
///
/// Two sockets that receive the same multicast datagrams share a port:
///
/// ```
/// use matou_net::UdpSocket;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let options = UdpSocket::options().reuse_address(true).reuse_port(true);
///     let mut first = options.bind("127.0.0.1:0")?;
///     let mut second = options.bind(first.local_addr()?)?;
///     assert_eq!(first.local_addr()?, second.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until `bind`"]
pub struct UdpOptions(BindOptions);

impl UdpOptions {
    /// Sets whether several sockets can bind the address (`SO_REUSEADDR`), as receivers of
    /// multicast datagrams do. Default: `false`.
    pub fn reuse_address(mut self, reuse: bool) -> UdpOptions {
        self.0.reuse_address = reuse;
        self
    }

    /// Sets whether several sockets of the same user can bind the address (`SO_REUSEPORT`). On
    /// Linux the system distributes the senders among them. Default: `false`.
    pub fn reuse_port(mut self, reuse: bool) -> UdpOptions {
        self.0.reuse_port = reuse;
        self
    }

    /// Sets whether a socket on an IPv6 address refuses IPv4 datagrams (`IPV6_V6ONLY`). Default:
    /// the system's setting. It has no effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> UdpOptions {
        self.0.only_v6 = Some(only);
        self
    }

    /// Binds a socket to `address`. With port 0 the system chooses a free port.
    ///
    /// # Errors
    ///
    /// If the system cannot bind the address, for example
    /// [`AddrInUse`](io::ErrorKind::AddrInUse). The error names the address. In a
    /// [simulated](matou_runtime::test) run only one socket can have an address, whatever the
    /// options are.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn bind(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        let address = address.target()?.address()?;
        let ticket = Ticket::new(Udp::NAME);
        let backend = Backend::bind_udp(address, &self.0).map_err(with_context("bind", address))?;
        Ok(UdpSocket::new(ticket, backend))
    }
}

impl UdpSocket {
    /// Binds a socket to `address`. With port 0 the system chooses a free port.
    ///
    /// # Errors
    ///
    /// As [`UdpOptions::bind`].
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn bind(address: impl ToAddress) -> io::Result<UdpSocket> {
        UdpOptions::default().bind(address)
    }

    /// Returns the default options, for a socket that needs other ones.
    pub fn options() -> UdpOptions {
        UdpOptions::default()
    }

    /// Connects the socket to a peer: [`send`](UdpSocket::send) sends to it, and only its datagrams
    /// are received from now on. Nothing is sent. A second call replaces the peer.
    ///
    /// # Errors
    ///
    /// If the system has no route to the address, which the error names;
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
    #[track_caller]
    pub fn connect(&mut self, address: impl ToAddress) -> io::Result<()> {
        let address = address.target()?.address()?;
        AccessMode::Exclusive.check(self)?;
        let connected = self.backend().connect(&address.into());
        connected.map_err(with_context("connect to", address))
    }

    /// Sends a datagram to `address`. Returns its length.
    ///
    /// # Errors
    ///
    /// - If the datagram is longer than the protocol permits, or the system has no route to the
    ///   address. That the datagram was not received is no error.
    /// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a broadcast address, unless
    ///   [`set_broadcast`](UdpSocket::set_broadcast) permits it.
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
    pub fn send_to<'a>(&'a mut self, buf: &'a [u8], address: SocketAddr) -> SendDatagram<'a> {
        self.send_to_name(AccessMode::Exclusive, buf, address)
    }

    /// Sends a datagram to `address`, if the system accepts it now. It spends no budget: a loop
    /// must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it does not; otherwise as
    /// [`send_to`](UdpSocket::send_to).
    #[track_caller]
    pub fn try_send_to(&mut self, buf: &[u8], address: SocketAddr) -> io::Result<usize> {
        AccessMode::Exclusive.check(self)?;
        self.backend().try_send(buf, Some(&address.into()))
    }

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`). Default: `false`.
    ///
    /// # Errors
    ///
    /// If the system reports an error; [`NotConnected`](io::ErrorKind::NotConnected) if the socket
    /// is closed. In a [simulated](matou_runtime::test) run the option is stored, and sending to
    /// the broadcast address is [`Unsupported`](io::ErrorKind::Unsupported).
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
    ///     socket.set_broadcast(true)?;
    ///     socket.set_ttl(3)?;
    ///     assert!(socket.broadcast()?);
    ///     assert_eq!(socket.ttl()?, 3);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn set_broadcast(&mut self, broadcast: bool) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_broadcast(broadcast)
    }

    /// Returns whether the socket may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// As [`set_broadcast`](UdpSocket::set_broadcast).
    #[track_caller]
    pub fn broadcast(&mut self) -> io::Result<bool> {
        AccessMode::Exclusive.check(self)?;
        self.backend().broadcast()
    }

    /// Sets how many routers a datagram passes at most: the time to live, or the hop limit of IPv6.
    ///
    /// # Errors
    ///
    /// If the system reports an error; [`NotConnected`](io::ErrorKind::NotConnected) if the socket
    /// is closed.
    #[doc(alias = "set_unicast_hops_v6")]
    #[track_caller]
    pub fn set_ttl(&mut self, ttl: u32) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_ttl(ttl)
    }

    /// Returns how many routers a datagram passes at most.
    ///
    /// # Errors
    ///
    /// As [`set_ttl`](UdpSocket::set_ttl).
    #[track_caller]
    pub fn ttl(&mut self) -> io::Result<u32> {
        AccessMode::Exclusive.check(self)?;
        self.backend().ttl()
    }

    /// Receives datagrams that are sent to an IPv4 multicast group from now on. `interface` is the
    /// address of the network interface; with `0.0.0.0` the system chooses one.
    ///
    /// # Errors
    ///
    /// If the system reports an error, for example because `group` is no multicast address;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run, whose
    /// network has no multicast.
    #[doc(alias = "IP_ADD_MEMBERSHIP")]
    #[track_caller]
    pub fn join_multicast_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.multicast(Multicast::JoinV4 { group, interface })
    }

    /// Leaves an IPv4 multicast group.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[doc(alias = "IP_DROP_MEMBERSHIP")]
    #[track_caller]
    pub fn leave_multicast_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.multicast(Multicast::LeaveV4 { group, interface })
    }

    /// Receives datagrams that are sent to an IPv6 multicast group from now on. `interface` is the
    /// index of the network interface; with 0 the system chooses one.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[doc(alias = "IPV6_ADD_MEMBERSHIP")]
    #[track_caller]
    pub fn join_multicast_v6(&mut self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.multicast(Multicast::JoinV6 { group, interface })
    }

    /// Leaves an IPv6 multicast group.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[track_caller]
    pub fn leave_multicast_v6(&mut self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.multicast(Multicast::LeaveV6 { group, interface })
    }

    /// Sets whether this host receives the IPv4 multicast datagrams that the socket sends.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[track_caller]
    pub fn set_multicast_loop_v4(&mut self, receive: bool) -> io::Result<()> {
        self.multicast(Multicast::LoopV4(receive))
    }

    /// Sets how many routers an IPv4 multicast datagram passes at most.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[track_caller]
    pub fn set_multicast_ttl_v4(&mut self, ttl: u32) -> io::Result<()> {
        self.multicast(Multicast::TtlV4(ttl))
    }

    /// Sets the network interface, by its address, that sends IPv4 multicast datagrams.
    ///
    /// # Errors
    ///
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    #[track_caller]
    pub fn set_multicast_interface_v4(&mut self, interface: Ipv4Addr) -> io::Result<()> {
        self.multicast(Multicast::InterfaceV4(interface))
    }

    #[track_caller]
    fn multicast(&mut self, setting: Multicast) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.backend().set_multicast(setting)
    }
}
