//! Sockets of the operating system: all system calls, descriptors and error numbers of this crate.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use matou_runtime::{Direction, IoSource, IoWait, WaitSite, WakerKey};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

use crate::listen_options::ListenOptions;

/// A socket of the standard library.
pub(crate) trait StdSocket: From<OwnedFd> + Into<OwnedFd> {}

impl<T: From<OwnedFd> + Into<OwnedFd>> StdSocket for T {}

/// A non-blocking socket, registered with the poller of the domain that uses it. `T` is the type
/// of the standard library for sockets of its kind.
pub(crate) struct Socket<T> {
    source: IoSource,
    /// The program created the descriptor, so other code may change its mode.
    foreign: bool,
    kind: PhantomData<fn() -> T>,
}

pub(crate) type Stream = Socket<std::net::TcpStream>;
pub(crate) type Listener = Socket<std::net::TcpListener>;

/// Every kind of socket.
impl<T: StdSocket> Socket<T> {
    /// Takes a descriptor in non-blocking mode.
    fn new(fd: OwnedFd) -> Socket<T> {
        Socket { source: IoSource::from_nonblocking(fd), foreign: false, kind: PhantomData }
    }

    pub(crate) fn from_std(socket: T) -> io::Result<Socket<T>> {
        let source = IoSource::new(socket.into())?;
        Ok(Socket { source, foreign: true, kind: PhantomData })
    }

    pub(crate) fn take_std(&self) -> io::Result<T> {
        let fd = self.source.take();
        fd.map(T::from).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(crate) fn close(&self) {
        self.source.close();
    }

    /// Removes the waker of a future that is dropped while it waits.
    pub(crate) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        self.source.cancel_wait(direction, key);
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with_socket(|socket| to_std_address(socket.local_addr()?))
    }

    fn with_socket<R>(&self, f: impl FnOnce(&socket2::Socket) -> io::Result<R>) -> io::Result<R> {
        self.source.with(|fd| f(&SockRef::from(&fd)))
    }
}

impl<T> fmt::Debug for Socket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("source", &self.source).finish()
    }
}

fn to_std_address(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    let not_ip = || io::Error::new(io::ErrorKind::Unsupported, "not an IP socket");
    address.as_socket().ok_or_else(not_ip)
}

/// TCP streams.
impl Stream {
    /// Starts to connect to `address`. Also returns whether the connection is established already.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<(Stream, bool)> {
        let socket = tcp_socket(address)?;
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

    /// A datagram socket must use [`IoSource::poll`], as [`poll_accept`](Listener::poll_accept)
    /// does: `poll_transfer` takes a short transfer as a sign that the next one would block. After
    /// a datagram shorter than the buffer it would wait, even if another one has arrived.
    #[inline]
    pub(crate) fn poll_recv(
        &self,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_transfer(Direction::Read, wait, cx, buf.len(), |fd| recv(fd, buf))
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

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with_socket(|socket| to_std_address(socket.peer_addr()?))
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

/// Creates a non-blocking TCP socket, which child processes do not inherit.
fn tcp_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
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
fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // fault: receive-by-the-mode
    let (count, _) = rustix::net::recv(fd, buf, RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Sends without waiting, as [`recv`] receives, and without raising `SIGPIPE`: if the peer has
/// closed, the result is `EPIPE`.
fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // Apple's systems have no `MSG_NOSIGNAL`. Rust's start-up code ignores the signal.
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    Ok(rustix::net::send(fd, buf, flags)?)
}

/// TCP listeners.
impl Listener {
    /// Returns a second listener on the same accept queue. Each is registered with the poller of
    /// its own domain, so a new connection wakes all of them; it is accepted by one, and the others
    /// find the queue empty and wait again.
    pub(crate) fn share(&self) -> io::Result<Listener> {
        let fd = self.source.with(|fd| fd.try_clone_to_owned())?;
        Ok(Listener::new(fd))
    }

    pub(crate) fn poll_accept(
        &self,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, SocketAddr)>> {
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
fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let (stream, peer) = acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok((stream, accepted_address(peer)?))
}

#[cfg(not(target_os = "linux"))]
fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let (stream, peer) = rustix::net::acceptfrom(fd)?;
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&stream, true)?;
    Ok((stream, accepted_address(peer)?))
}

fn accepted_address(peer: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    // Some systems return no address for a connection that its peer has closed already.
    peer.and_then(|peer| SocketAddr::try_from(peer).ok())
        .ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

/// A TCP socket that is bound to its address and does not listen yet.
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

/// The effect of an error of `accept` on the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptErrorClass {
    /// It concerns one connection only.
    Connection,
    /// The system is out of descriptors or memory.
    Exhausted,
    /// The listener does not work; every later call fails as well.
    Fatal,
}

/// Classifies an error of `accept`.
///
/// An unknown error counts as [`Connection`](AcceptErrorClass::Connection): Linux passes on errors
/// that were pending on the new socket, and a server that retries with delays is preferable to one
/// that stops because of a single connection.
pub(crate) fn classify_accept_error(error: &io::Error) -> AcceptErrorClass {
    let Some(errno) = Errno::from_io_error(error) else {
        // Not from the system: the listener is closed, or the domain's driver has no poller.
        return match error.kind() {
            io::ErrorKind::ConnectionAborted => AcceptErrorClass::Connection,
            _ => AcceptErrorClass::Fatal,
        };
    };
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => {
            AcceptErrorClass::Exhausted
        }
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT => {
            AcceptErrorClass::Fatal
        }
        _ => AcceptErrorClass::Connection,
    }
}

/// An error of `accept` that the simulated network injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFault {
    /// The process has no free descriptors.
    ProcessDescriptors,
    /// The system has no free descriptors.
    SystemDescriptors,
    /// The system has no memory for buffers.
    Buffers,
    /// The peer closed the connection before it was accepted.
    ConnectionAborted,
}

impl From<AcceptFault> for io::Error {
    fn from(fault: AcceptFault) -> io::Error {
        let errno = match fault {
            AcceptFault::ProcessDescriptors => Errno::MFILE,
            AcceptFault::SystemDescriptors => Errno::NFILE,
            AcceptFault::Buffers => Errno::NOBUFS,
            AcceptFault::ConnectionAborted => Errno::CONNABORTED,
        };
        errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_class(errnos: &[Errno], class: AcceptErrorClass) {
        for &errno in errnos {
            assert_eq!(classify_accept_error(&errno.into()), class, "{errno:?}");
        }
    }

    #[test]
    fn r2_an_error_of_one_connection_does_not_end_the_listener() {
        assert_class(
            &[
                Errno::CONNABORTED,
                Errno::PROTO,
                Errno::PERM,
                Errno::NETDOWN,
                Errno::HOSTUNREACH,
                Errno::TIMEDOUT,
            ],
            AcceptErrorClass::Connection,
        );
    }

    #[test]
    fn r1_a_lack_of_descriptors_or_memory_is_exhaustion() {
        assert_class(
            &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM],
            AcceptErrorClass::Exhausted,
        );
    }

    #[test]
    fn a_socket_that_does_not_listen_is_fatal() {
        assert_class(&[Errno::INVAL, Errno::BADF], AcceptErrorClass::Fatal);
        let closed = io::Error::from(io::ErrorKind::NotConnected);
        assert_eq!(classify_accept_error(&closed), AcceptErrorClass::Fatal);
    }
}
