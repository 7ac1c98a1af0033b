//! Sockets of the operating system: all system calls, descriptors and error numbers of this crate.

mod accept_error;
mod address;
mod datagram;
mod listener;
mod stream;
mod unix;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;

use matou_runtime::{Direction, IoSource, WakerKey};
use socket2::SockRef;

use crate::address::Address;

pub(crate) use accept_error::{AcceptErrorClass, AcceptFault, classify_accept_error};
pub(crate) use address::{from_std_unix, to_std_unix};
pub(crate) use datagram::{BindOptions, Datagram, DatagramFault, DatagramKind, Multicast, Taking};
pub(crate) use listener::{BoundSocket, Listener, ListenerKind};
pub(crate) use stream::{Stream, StreamKind};
pub(crate) use unix::{Credentials, FileIdentity, FileKind, is_stale_file};

/// A non-blocking socket, registered with the poller of the domain that uses it. `T` marks the
/// operations that it has: those of a stream or of a listener.
pub(crate) struct Socket<T> {
    source: IoSource,
    /// The program created the descriptor, so other code may change its mode.
    foreign: bool,
    kind: PhantomData<fn() -> T>,
}

/// Every kind of socket.
impl<T> Socket<T> {
    /// Takes a descriptor in non-blocking mode.
    fn new(fd: OwnedFd) -> Socket<T> {
        Socket { source: IoSource::from_nonblocking(fd), foreign: false, kind: PhantomData }
    }

    /// Takes a descriptor that the program has created.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Socket<T>> {
        let source = IoSource::new(fd)?;
        Ok(Socket { source, foreign: true, kind: PhantomData })
    }

    pub(crate) fn take_fd(&self) -> io::Result<OwnedFd> {
        self.source.take().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Returns whether the socket was open.
    pub(crate) fn close(&self) -> bool {
        self.source.close()
    }

    /// Removes the waker of a future that is dropped while it waits.
    pub(crate) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        self.source.cancel_wait(direction, key);
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        self.source.with(|fd| address::from_any(rustix::net::getsockname(fd)?))
    }

    fn with_socket<R>(&self, f: impl FnOnce(&socket2::Socket) -> io::Result<R>) -> io::Result<R> {
        self.source.with(|fd| f(&SockRef::from(&fd)))
    }
}

/// The clone refers to the same socket.
impl<T> Clone for Socket<T> {
    fn clone(&self) -> Socket<T> {
        Socket { source: self.source.clone(), foreign: self.foreign, kind: PhantomData }
    }
}

impl<T> fmt::Debug for Socket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("source", &self.source).finish()
    }
}
