use std::io;
use std::net::SocketAddr;

use super::{Accept, TcpListener};
use crate::access::AccessMode;

/// A listener used through a shared reference; created by [`TcpListener::shared`].
///
/// Use by a task that is not the owner is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner). Outside a run it is an error of the kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
#[derive(Clone, Copy, Debug)]
pub struct TcpListenerRef<'a> {
    listener: &'a TcpListener,
}

impl<'a> TcpListenerRef<'a> {
    pub(super) fn new(listener: &'a TcpListener) -> TcpListenerRef<'a> {
        TcpListenerRef { listener }
    }

    /// Waits for the next connection; see [`TcpListener::accept`].
    #[track_caller]
    pub fn accept(self) -> Accept<'a> {
        Accept::new(self.listener, AccessMode::Shared)
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<SocketAddr> {
        self.listener.local_addr_as(AccessMode::Shared)
    }
}
