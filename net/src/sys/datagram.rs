use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use matou_runtime::{Direction, IoWait};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Type};

use super::stream::send_flags;
use super::{Socket, address};
use crate::address::Address;

pub(crate) enum DatagramKind {}

/// A datagram socket of any kind.
pub(crate) type Datagram = Socket<DatagramKind>;

/// Whether a receive removes the datagram from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    Take,
    Peek,
}

/// Options of a UDP socket before it is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BindOptions {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
}

/// A setting of a UDP socket that concerns multicast.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Multicast {
    JoinV4 { group: Ipv4Addr, interface: Ipv4Addr },
    LeaveV4 { group: Ipv4Addr, interface: Ipv4Addr },
    JoinV6 { group: Ipv6Addr, interface: u32 },
    LeaveV6 { group: Ipv6Addr, interface: u32 },
    LoopV4(bool),
    TtlV4(u32),
    InterfaceV4(Ipv4Addr),
}

impl Datagram {
    pub(crate) fn bind_udp(address: SocketAddr, options: &BindOptions) -> io::Result<Datagram> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if options.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (true, Some(only_v6)) = (address.is_ipv6(), options.only_v6) {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        Ok(Socket::new(socket.into()))
    }

    pub(crate) fn connect(&self, address: &Address) -> io::Result<()> {
        self.source.with(|fd| match address {
            Address::Ip(address) => Ok(rustix::net::connect(fd, address)?),
            Address::Unix(name) => Ok(rustix::net::connect(fd, &address::to_unix(name)?)?),
        })
    }

    pub(crate) fn poll_recv(
        &self,
        taking: Taking,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, Option<Address>)>> {
        // A datagram shorter than the buffer is no sign that the next receive would block.
        self.source.poll(Direction::Read, wait, cx, |fd| recv_from(fd, taking, buf))
    }

    pub(crate) fn poll_send(
        &self,
        buf: &[u8],
        to: Option<&Address>,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll(Direction::Write, wait, cx, |fd| send_to(fd, buf, to))
    }

    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<(usize, Option<Address>)> {
        self.source.with(|fd| recv_from(fd, Taking::Take, buf))
    }

    pub(crate) fn try_send(&self, buf: &[u8], to: Option<&Address>) -> io::Result<usize> {
        self.source.with(|fd| send_to(fd, buf, to))
    }

    /// Returns `None` if the system reports no address.
    pub(crate) fn peer_addr(&self) -> io::Result<Option<Address>> {
        self.source.with(|fd| rustix::net::getpeername(fd)?.map(address::from_any).transpose())
    }

    pub(crate) fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.with_socket(|socket| socket.set_broadcast(broadcast))
    }

    pub(crate) fn broadcast(&self) -> io::Result<bool> {
        self.with_socket(socket2::Socket::broadcast)
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.with_socket(|socket| match socket.local_addr()?.is_ipv6() {
            true => socket.set_unicast_hops_v6(ttl),
            false => socket.set_ttl_v4(ttl),
        })
    }

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        self.with_socket(|socket| match socket.local_addr()?.is_ipv6() {
            true => socket.unicast_hops_v6(),
            false => socket.ttl_v4(),
        })
    }

    pub(crate) fn set_multicast(&self, setting: Multicast) -> io::Result<()> {
        self.with_socket(|socket| match setting {
            Multicast::JoinV4 { group, interface } => socket.join_multicast_v4(&group, &interface),
            Multicast::LeaveV4 { group, interface } => {
                socket.leave_multicast_v4(&group, &interface)
            }
            Multicast::JoinV6 { group, interface } => socket.join_multicast_v6(&group, interface),
            Multicast::LeaveV6 { group, interface } => socket.leave_multicast_v6(&group, interface),
            Multicast::LoopV4(receive) => socket.set_multicast_loop_v4(receive),
            Multicast::TtlV4(ttl) => socket.set_multicast_ttl_v4(ttl),
            Multicast::InterfaceV4(interface) => socket.set_multicast_if_v4(&interface),
        })
    }
}

/// Receives without waiting, whatever the mode of the descriptor. There is no address if the sender
/// has none.
fn recv_from(
    fd: BorrowedFd<'_>,
    taking: Taking,
    buf: &mut [u8],
) -> io::Result<(usize, Option<Address>)> {
    let mut flags = RecvFlags::DONTWAIT;
    // fault: peek-takes-the-datagram
    if taking == Taking::Peek {
        flags |= RecvFlags::PEEK;
    }
    let (count, _, from) = rustix::net::recvfrom(fd, buf, flags)?;
    Ok((count, from.and_then(|from| address::from_any(from).ok())))
}

/// Sends without waiting, whatever the mode of the descriptor.
fn send_to(fd: BorrowedFd<'_>, buf: &[u8], to: Option<&Address>) -> io::Result<usize> {
    Ok(match to {
        None => rustix::net::send(fd, buf, send_flags())?,
        Some(Address::Ip(address)) => rustix::net::sendto(fd, buf, send_flags(), address)?,
        Some(Address::Unix(name)) => {
            rustix::net::sendto(fd, buf, send_flags(), &address::to_unix(name)?)?
        }
    })
}

/// The errors of a datagram socket that have no kind of the standard library.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DatagramFault {
    /// The datagram is longer than the protocol permits.
    TooLong,
    /// The socket is not connected, and the datagram has no address.
    NoDestination,
}

impl From<DatagramFault> for io::Error {
    fn from(fault: DatagramFault) -> io::Error {
        let errno = match fault {
            DatagramFault::TooLong => Errno::MSGSIZE,
            DatagramFault::NoDestination => Errno::DESTADDRREQ,
        };
        errno.into()
    }
}
