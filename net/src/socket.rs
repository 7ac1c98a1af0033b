use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use matou_ownership::{FinalizeStatus, Resource, Ticket, own};
use matou_runtime::IoSource;
use socket2::SockRef;

/// What a ledger keeps of a socket, so that it can close it while its handle is out of reach.
///
/// Each use looks at the link and the beginning of the ticket, which are neighbours.
#[repr(C)]
pub(crate) struct Socket<S: Simulated> {
    link: Link<S>,
    ticket: Ticket,
}

/// What is behind a socket.
pub(crate) enum Link<S> {
    /// A descriptor in non-blocking mode.
    System(Arc<IoSource>),
    /// The network in memory of a simulated run.
    Simulated(S),
}

/// A socket of the network in memory.
pub(crate) trait Simulated: Send + Sync + 'static {
    fn local_addr(&self) -> SocketAddr;

    fn close(&self);
}

impl<S> From<OwnedFd> for Link<S> {
    fn from(fd: OwnedFd) -> Link<S> {
        Link::System(IoSource::new(fd))
    }
}

impl<S: Simulated> Socket<S> {
    /// Makes a resource of the current task.
    ///
    /// Why is the ticket made by the caller? It names the line of the program that asked for the
    /// socket, and a future is not polled from that line.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, link: impl Into<Link<S>>) -> Arc<Socket<S>> {
        let socket = Arc::new(Socket { link: link.into(), ticket });
        own(&(Arc::clone(&socket) as Arc<dyn Resource>));
        socket
    }

    pub(crate) fn link(&self) -> &Link<S> {
        &self.link
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.link {
            Link::System(io) => with(io, |socket| ip(socket.local_addr()?)),
            Link::Simulated(socket) => Ok(socket.local_addr()),
        }
    }

    /// Takes the descriptor out. Its finalizer then finds nothing to close.
    pub(crate) fn take_fd(&self) -> io::Result<OwnedFd> {
        match &self.link {
            Link::System(io) => io.take_fd().ok_or_else(|| io::ErrorKind::NotConnected.into()),
            Link::Simulated(_) => Err(no_descriptors()),
        }
    }
}

/// Calls `f` with a socket of the system.
pub(crate) fn with<R>(
    io: &IoSource,
    f: impl FnOnce(&socket2::Socket) -> io::Result<R>,
) -> io::Result<R> {
    io.with(|fd| f(&SockRef::from(&fd)))
}

pub(crate) fn ip(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    let not_ip = || io::Error::new(io::ErrorKind::Unsupported, "the socket is not one of TCP");
    address.as_socket().ok_or_else(not_ip)
}

/// Fails in a simulated run, where a descriptor could never be waited for.
pub(crate) fn check_descriptors() -> io::Result<()> {
    match matou_runtime::test::simulation() {
        Some(_) => Err(no_descriptors()),
        None => Ok(()),
    }
}

fn no_descriptors() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there are no descriptors in a simulated run")
}

impl<S: Simulated> Resource for Socket<S> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        match &self.link {
            Link::System(io) => {
                io.close();
            }
            Link::Simulated(socket) => socket.close(),
        }
        FinalizeStatus::Done
    }
}

impl<S: Simulated> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("ticket", &self.ticket).field("link", &self.link).finish()
    }
}

impl<S: Simulated> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::System(io) => io.fmt(f),
            Link::Simulated(socket) => write!(f, "Simulated({})", socket.local_addr()),
        }
    }
}
