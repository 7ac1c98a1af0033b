use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use matou_runtime::{Direction, IoWait};
use rustix::net::SocketAddrAny;

use super::stream::{set_buffers, tcp_socket};
use super::{Socket, Stream, address};
use crate::address::Address;
use crate::listen_options::ListenOptions;

pub(crate) enum ListenerKind {}

/// A listener of any kind.
pub(crate) type Listener = Socket<ListenerKind>;

impl Listener {
    /// Returns a second listener on the same accept queue. Each is registered with the poller of
    /// its own domain, so a new connection wakes all of them; it is accepted by one, and the others
    /// find the queue empty and wait again.
    pub(crate) fn share(&self) -> io::Result<Listener> {
        let fd = self.source.with(|fd| fd.try_clone_to_owned())?;
        Ok(Listener::new(fd))
    }

    /// Some systems return no address of a peer that is unnamed or has closed already.
    pub(crate) fn poll_accept(
        &self,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Option<Address>)>> {
        let foreign = self.foreign;
        let accept = |fd: BorrowedFd<'_>| {
            if foreign {
                // There is no call that accepts without waiting whatever the mode is.
                // fault: foreign-listener-mode-trusted
                rustix::io::ioctl_fionbio(fd, true)?;
            }
            accept(fd)
        };
        self.source
            .poll(Direction::Read, wait, cx, accept)
            .map_ok(|(fd, peer)| (Stream::new(fd), peer))
    }
}

/// Accepts a connection as a non-blocking socket, which child processes do not inherit.
#[cfg(target_os = "linux")]
fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<Address>)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let (stream, peer) = acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok((stream, accepted_address(peer)))
}

#[cfg(not(target_os = "linux"))]
fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<Address>)> {
    let (stream, peer) = rustix::net::acceptfrom(fd)?;
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&stream, true)?;
    Ok((stream, accepted_address(peer)))
}

fn accepted_address(peer: Option<SocketAddrAny>) -> Option<Address> {
    peer.and_then(|peer| address::from_any(peer).ok())
}

/// A socket that is bound to its address and does not listen yet.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    socket: socket2::Socket,
}

impl BoundSocket {
    pub(crate) fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<BoundSocket> {
        let socket = tcp_socket(address)?;
        socket.set_reuse_address(options.reuse_address)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (true, Some(only_v6)) = (address.is_ipv6(), options.only_v6) {
            socket.set_only_v6(only_v6)?;
        }
        set_buffers(&socket, options.recv_buffer, options.send_buffer)?;
        if options.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&address.into())?;
        Ok(BoundSocket { socket })
    }

    pub(crate) fn allow_port_reuse(&self) -> io::Result<()> {
        self.socket.set_reuse_port(true)
    }

    pub(crate) fn listen(self, backlog: u32) -> io::Result<Listener> {
        self.socket.listen(backlog.min(i32::MAX as u32) as i32)?;
        Ok(Listener::new(self.socket.into()))
    }
}
