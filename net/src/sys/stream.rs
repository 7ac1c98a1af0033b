use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use std::time::Duration;

use matou_runtime::{Direction, IoWait, WaitSite};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, TcpKeepalive, Type};

use super::{Socket, address};
use crate::address::Address;
use crate::connect_options::ConnectOptions;

/// The most slices that one system call takes, on all supported systems.
const IOV_MAX: usize = 1024;

pub(crate) enum StreamKind {}

/// A stream socket of any kind.
pub(crate) type Stream = Socket<StreamKind>;

impl Stream {
    /// Starts to connect to `address`. Also returns whether the connection is established already.
    pub(crate) fn connect(
        address: SocketAddr,
        options: &ConnectOptions,
    ) -> io::Result<(Stream, bool)> {
        let socket = tcp_socket(address)?;
        set_options(&socket, options)?;
        let established = match rustix::net::connect(&socket, &address) {
            Ok(()) => true,
            // After `EINTR` the system continues to connect in the background.
            Err(Errno::INPROGRESS | Errno::INTR) => false,
            Err(error) => return Err(error.into()),
        };
        Ok((Socket::new(socket.into()), established))
    }

    /// Waits until the connection is established or has failed.
    ///
    /// Right after [`connect`](Stream::connect) the result is not known yet: with `just_started`
    /// the first check is skipped, which saves a system call.
    pub(crate) fn poll_connect(
        &self,
        mut just_started: bool,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.source.poll(Direction::Write, site, cx, |fd| {
            if std::mem::take(&mut just_started) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            connect_result(fd)
        })
    }

    /// A datagram socket must use [`IoSource::poll`](matou_runtime::IoSource::poll), as
    /// `poll_accept` does: `poll_transfer` takes a short transfer
    /// as a sign that the next one would block. After a datagram shorter than the buffer it would
    /// wait, even if another one has arrived.
    #[inline]
    pub(crate) fn poll_recv(
        &self,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_transfer(Direction::Read, wait, cx, buf.len(), |fd| recv(fd, buf))
    }

    /// As [`poll_recv`](Stream::poll_recv), into memory that need not be initialized. The system
    /// has initialized the bytes that it counts.
    #[inline]
    pub(crate) fn poll_recv_uninit(
        &self,
        buf: &mut [MaybeUninit<u8>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_transfer(Direction::Read, wait, cx, buf.len(), |fd| {
            let (_, count) = rustix::net::recv(fd, &mut *buf, RecvFlags::DONTWAIT)?;
            Ok(count)
        })
    }

    #[inline]
    pub(crate) fn poll_send(
        &self,
        buf: &[u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_transfer(Direction::Write, wait, cx, buf.len(), |fd| send(fd, buf))
    }

    /// Receives into several slices, of which at least one is not empty.
    pub(crate) fn poll_recv_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let end = bufs.len().min(first + IOV_MAX);
        let bufs = &mut bufs[first..end];
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        self.source.poll_transfer(Direction::Read, wait, cx, wanted, |fd| {
            let mut control = RecvAncillaryBuffer::default();
            Ok(rustix::net::recvmsg(fd, bufs, &mut control, RecvFlags::DONTWAIT)?.bytes)
        })
    }

    /// Sends several slices, of which at least one is not empty.
    pub(crate) fn poll_send_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Empty slices first could fill the system call, whose result 0 would be an error.
        let first = bufs.iter().take_while(|buf| buf.is_empty()).count();
        // fault: slices-beyond-the-systems-limit
        let end = bufs.len().min(first + IOV_MAX);
        let bufs = &bufs[first..end];
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        self.source.poll_transfer(Direction::Write, wait, cx, wanted, |fd| {
            let mut control = SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(fd, bufs, &mut control, send_flags())?)
        })
    }

    /// Copies the next bytes, which a later read receives as well.
    pub(crate) fn poll_peek(
        &self,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // The bytes stay: a short result is no sign that the next read would block.
        self.source.poll(Direction::Read, wait, cx, |fd| peek(fd, buf))
    }

    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.with(|fd| recv(fd, buf))
    }

    pub(crate) fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.with(|fd| send(fd, buf))
    }

    /// Returns `None` if the system reports no address.
    pub(crate) fn peer_addr(&self) -> io::Result<Option<Address>> {
        self.source.with(|fd| rustix::net::getpeername(fd)?.map(address::from_any).transpose())
    }

    /// Shuts down one or both directions. It is a success if the connection has ended already: what
    /// was to end has ended.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.with(|fd| match rustix::net::shutdown(fd, to_rustix(how)) {
            // fault: shutdown-after-the-end-fails
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.with_socket(|socket| socket.set_tcp_nodelay(nodelay))
    }

    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        self.with_socket(socket2::Socket::tcp_nodelay)
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.with_socket(|socket| socket.set_linger(linger))
    }

    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        self.with_socket(socket2::Socket::linger)
    }

    pub(crate) fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        self.with_socket(|socket| match idle {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => socket.set_keepalive(false),
        })
    }
}

/// Sets the options of a socket that is not connected yet.
fn set_options(socket: &socket2::Socket, options: &ConnectOptions) -> io::Result<()> {
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(idle) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    if options.linger.is_some() {
        socket.set_linger(options.linger)?;
    }
    set_buffers(socket, options.recv_buffer, options.send_buffer)?;
    if let Some(local) = options.local {
        socket.bind(&local.into())?;
    }
    Ok(())
}

pub(super) fn set_buffers(
    socket: &socket2::Socket,
    recv: Option<usize>,
    send: Option<usize>,
) -> io::Result<()> {
    if let Some(bytes) = recv {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = send {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Creates a non-blocking TCP socket, which child processes do not inherit.
pub(super) fn tcp_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    // `socket2` sets close-on-exec.
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns the result of a `connect` in progress; `WouldBlock` if there is none yet.
fn connect_result(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::sockopt::socket_error(fd)??;
    // An event may report a socket as writable too early: without a peer it is not connected yet.
    match rustix::net::getpeername(fd) {
        Ok(_) => Ok(()),
        Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

fn to_rustix(how: Shutdown) -> rustix::net::Shutdown {
    match how {
        Shutdown::Read => rustix::net::Shutdown::Read,
        Shutdown::Write => rustix::net::Shutdown::Write,
        Shutdown::Both => rustix::net::Shutdown::Both,
    }
}

/// Receives without waiting, whatever the mode of the descriptor: another process that shares it
/// may have changed the mode.
pub(super) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // fault: receive-by-the-mode
    let (count, _) = rustix::net::recv(fd, buf, RecvFlags::DONTWAIT)?;
    Ok(count)
}

pub(super) fn peek(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(fd, buf, RecvFlags::DONTWAIT | RecvFlags::PEEK)?;
    Ok(count)
}

/// Sends without waiting, as [`recv`] receives, and without raising `SIGPIPE`: if the peer has
/// closed, the result is `EPIPE`.
pub(super) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(fd, buf, send_flags())?)
}

pub(super) fn send_flags() -> SendFlags {
    // Apple's systems have no `MSG_NOSIGNAL`. Rust's start-up code ignores the signal.
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    #[cfg(target_vendor = "apple")]
    return SendFlags::DONTWAIT;
}
