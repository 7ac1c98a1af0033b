//! The two implementations of a socket: of the operating system, or in memory.
//!
//! The backend is chosen once, where a socket is created, by whether the current run is simulated.
//! No other module of this crate distinguishes the two. The methods of both implementations have
//! the same names and signatures. A new kind of socket adds an `impl Backend<..>` block here, its
//! system calls to [`sys`](crate::sys) and its in-memory form to [`simulated`](crate::simulated);
//! `ARCHITECTURE.md` lists the other files that it touches.

mod resolve;
mod unix;

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use matou_runtime::{Direction, IoWait, WaitSite, WakerKey};

use crate::address::Address;
use crate::connect_options::ConnectOptions;
use crate::listen_options::ListenOptions;
use crate::simulated::{self, network};
use crate::sys::{self, BindOptions, Multicast, Taking};

pub(crate) use crate::simulated::InMemorySocket;
pub(crate) use resolve::Lookup;
pub(crate) use unix::{SocketFile, explain_stale, remove_stale_file};

/// The implementation of one socket.
pub(crate) enum Backend<S: InMemorySocket> {
    System(sys::Socket<S::Kind>),
    InMemory(S),
}

/// The backend of a stream.
pub(crate) type StreamBackend = Backend<simulated::Endpoint>;

/// The backend of a listener.
pub(crate) type ListenerBackend = Backend<simulated::ListenerHandle>;

/// The backend of a datagram socket.
pub(crate) type DatagramBackend = Backend<simulated::Datagram>;

/// Defines methods that call the method of the same name of either implementation.
macro_rules! delegate {
    ($(
        $(#[$meta:meta])*
        fn $name:ident(&self $(, $arg:ident: $type:ty)* $(,)?) $(-> $result:ty)?;
    )*) => {
        $($(#[$meta])* pub(crate) fn $name(&self $(, $arg: $type)*) $(-> $result)? {
            match self {
                Backend::System(socket) => socket.$name($($arg),*),
                Backend::InMemory(socket) => socket.$name($($arg),*),
            }
        })*
    };
}

/// Operations of every kind of socket.
impl<S: InMemorySocket> Backend<S> {
    /// Takes a descriptor that the program has created, and puts it into non-blocking mode.
    ///
    /// # Errors
    ///
    /// `Unsupported` in a simulated run, where no descriptor can be waited for.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Backend<S>> {
        if network().is_some() {
            return Err(no_descriptors());
        }
        sys::Socket::from_fd(fd).map(Backend::System)
    }

    /// Removes the descriptor, so that [`close`](Backend::close) has no effect on it.
    pub(crate) fn take_fd(&self) -> io::Result<OwnedFd> {
        match self {
            Backend::System(socket) => socket.take_fd(),
            Backend::InMemory(_) => Err(no_descriptors()),
        }
    }

    delegate! {
        fn local_addr(&self) -> io::Result<Address>;
        /// Returns whether the socket was open.
        fn close(&self) -> bool;
        /// Removes the waker of a future that is dropped while it waits.
        fn cancel_wait(&self, direction: Direction, key: &mut WakerKey);
    }
}

fn no_descriptors() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a simulated run has no descriptors")
}

/// Operations of a stream.
impl StreamBackend {
    /// Starts to connect to `address`. Also returns whether the connection is established already.
    pub(crate) fn connect(
        address: SocketAddr,
        options: &ConnectOptions,
    ) -> io::Result<(StreamBackend, bool)> {
        if let Some(network) = network() {
            return Ok((Backend::InMemory(network.connect(address, options)?), false));
        }
        let (socket, established) = sys::Stream::connect(address, options)?;
        Ok((Backend::System(socket), established))
    }

    /// Waits until the connection is established. `just_started` skips the first check.
    pub(crate) fn poll_connect(
        &self,
        just_started: bool,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Backend::System(socket) => socket.poll_connect(just_started, site, cx),
            Backend::InMemory(endpoint) => endpoint.poll_connect(site, cx),
        }
    }

    delegate! {
        #[inline]
        fn poll_recv(
            &self,
            buf: &mut [u8],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        #[inline]
        fn poll_recv_uninit(
            &self,
            buf: &mut [MaybeUninit<u8>],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        #[inline]
        fn poll_send(
            &self,
            buf: &[u8],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        fn poll_recv_vectored(
            &self,
            bufs: &mut [IoSliceMut<'_>],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        fn poll_send_vectored(
            &self,
            bufs: &[IoSlice<'_>],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        fn poll_peek(
            &self,
            buf: &mut [u8],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        /// Fails with `WouldBlock` instead of waiting.
        fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize>;
        /// Fails with `WouldBlock` instead of waiting.
        fn try_send(&self, buf: &[u8]) -> io::Result<usize>;
        fn shutdown(&self, how: Shutdown) -> io::Result<()>;
        fn peer_addr(&self) -> io::Result<Option<Address>>;
        fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
        fn nodelay(&self) -> io::Result<bool>;
        fn set_linger(&self, linger: Option<Duration>) -> io::Result<()>;
        fn linger(&self) -> io::Result<Option<Duration>>;
        fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()>;
    }
}

/// Operations of a listener.
impl ListenerBackend {
    /// Returns a second listener on the same accept queue.
    pub(crate) fn share(&self) -> io::Result<ListenerBackend> {
        match self {
            Backend::System(listener) => listener.share().map(Backend::System),
            Backend::InMemory(listener) => listener.share().map(Backend::InMemory),
        }
    }

    pub(crate) fn poll_accept(
        &self,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(StreamBackend, Option<Address>)>> {
        match self {
            Backend::System(listener) => listener
                .poll_accept(wait, cx)
                .map_ok(|(stream, peer)| (Backend::System(stream), peer)),
            Backend::InMemory(listener) => listener
                .poll_accept(wait, cx)
                .map_ok(|(stream, peer)| (Backend::InMemory(stream), peer)),
        }
    }
}

/// Operations of a datagram socket.
impl DatagramBackend {
    pub(crate) fn bind_udp(
        address: SocketAddr,
        options: &BindOptions,
    ) -> io::Result<DatagramBackend> {
        match network() {
            Some(network) => simulated::Datagram::bind(&network, address).map(Backend::InMemory),
            None => sys::Datagram::bind_udp(address, options).map(Backend::System),
        }
    }

    delegate! {
        fn connect(&self, address: &Address) -> io::Result<()>;
        fn poll_recv(
            &self,
            taking: Taking,
            buf: &mut [u8],
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<(usize, Option<Address>)>>;
        fn poll_send(
            &self,
            buf: &[u8],
            to: Option<&Address>,
            wait: IoWait<'_>,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<usize>>;
        /// Fails with `WouldBlock` instead of waiting.
        fn try_recv(&self, buf: &mut [u8]) -> io::Result<(usize, Option<Address>)>;
        /// Fails with `WouldBlock` instead of waiting.
        fn try_send(&self, buf: &[u8], to: Option<&Address>) -> io::Result<usize>;
        fn peer_addr(&self) -> io::Result<Option<Address>>;
        fn set_broadcast(&self, broadcast: bool) -> io::Result<()>;
        fn broadcast(&self) -> io::Result<bool>;
        fn set_ttl(&self, ttl: u32) -> io::Result<()>;
        fn ttl(&self) -> io::Result<u32>;
        fn set_multicast(&self, setting: Multicast) -> io::Result<()>;
    }
}

/// A TCP socket that is bound to its address and does not listen yet.
pub(crate) enum BoundSocket {
    System(sys::BoundSocket),
    InMemory(Arc<simulated::Listener>),
}

impl BoundSocket {
    pub(crate) fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<BoundSocket> {
        match network() {
            Some(network) => network.bind(address, options).map(BoundSocket::InMemory),
            None => sys::BoundSocket::bind(address, options).map(BoundSocket::System),
        }
    }

    /// Permits further sockets to bind the same address.
    pub(crate) fn allow_port_reuse(&self) -> io::Result<()> {
        match self {
            BoundSocket::System(socket) => socket.allow_port_reuse(),
            BoundSocket::InMemory(listener) => {
                listener.allow_port_reuse();
                Ok(())
            }
        }
    }

    pub(crate) fn listen(self, backlog: u32) -> io::Result<ListenerBackend> {
        match self {
            BoundSocket::System(socket) => socket.listen(backlog).map(Backend::System),
            // A simulated listener accepts connections from the moment it is bound.
            BoundSocket::InMemory(listener) => {
                Ok(Backend::InMemory(simulated::ListenerHandle::new(listener)))
            }
        }
    }
}

/// The clone refers to the same socket.
impl<S: InMemorySocket + Clone> Clone for Backend<S> {
    fn clone(&self) -> Backend<S> {
        match self {
            Backend::System(socket) => Backend::System(socket.clone()),
            Backend::InMemory(socket) => Backend::InMemory(socket.clone()),
        }
    }
}

impl<S: InMemorySocket> fmt::Debug for Backend<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::System(socket) => socket.fmt(f),
            Backend::InMemory(socket) => {
                f.debug_tuple("InMemory").field(&socket.local_addr()).finish()
            }
        }
    }
}
