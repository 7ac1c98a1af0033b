use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use matou_ownership::{Finalization, Resource, Ticket, own};
use matou_runtime::Io;
use socket2::SockRef;

/// What a ledger keeps of a socket, so that it can close it while its handle is out of reach.
pub(crate) struct Socket {
    ticket: Ticket,
    io: Arc<Io>,
}

impl Socket {
    /// Makes a resource of the current task of a descriptor in non-blocking mode.
    ///
    /// Why is the ticket made by the caller? It names the line of the program that asked for the
    /// socket, and a future is not polled from that line.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, fd: OwnedFd) -> Arc<Socket> {
        let io = Io::new(fd);
        let socket = Arc::new(Socket { ticket, io });
        own(&(Arc::clone(&socket) as Arc<dyn Resource>));
        socket
    }

    pub(crate) fn io(&self) -> &Arc<Io> {
        &self.io
    }

    /// Calls `f` with the socket.
    pub(crate) fn with<R>(
        &self,
        f: impl FnOnce(&socket2::Socket) -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.with(|fd| f(&SockRef::from(&fd)))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with(|socket| ip(socket.local_addr()?))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with(|socket| ip(socket.peer_addr()?))
    }

    /// Takes the descriptor out. Its finalizer then finds nothing to close.
    pub(crate) fn take_fd(&self) -> io::Result<OwnedFd> {
        let fd = self.io.take_fd();
        fd.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn ip(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    let not_ip = || io::Error::new(io::ErrorKind::Unsupported, "the socket is not one of TCP");
    address.as_socket().ok_or_else(not_ip)
}

impl Resource for Socket {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> Finalization {
        self.io.close();
        Finalization::Done
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("ticket", &self.ticket).field("io", &self.io).finish()
    }
}
