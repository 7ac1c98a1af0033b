use std::io;

use super::{Accept, SocketListener};
use crate::access::AccessMode;
use crate::kind::SocketKind;

/// A listener used through a shared reference; created by [`shared`](SocketListener::shared).
///
/// Use by a task that is not the owner is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner). Outside a run it is an error of the kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
#[derive(Debug)]
pub struct SocketListenerRef<'a, K: SocketKind> {
    listener: &'a SocketListener<K>,
}

impl<'a, K: SocketKind> SocketListenerRef<'a, K> {
    pub(super) fn new(listener: &'a SocketListener<K>) -> SocketListenerRef<'a, K> {
        SocketListenerRef { listener }
    }

    /// Waits for the next connection; see [`SocketListener::accept`].
    #[track_caller]
    pub fn accept(self) -> Accept<'a, K> {
        Accept::new(self.listener, AccessMode::Shared)
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// As [`SocketListener::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<K::Address> {
        self.listener.local_addr_as(AccessMode::Shared)
    }
}

// Not derived: a derive would require `K: Clone`.
impl<K: SocketKind> Clone for SocketListenerRef<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: SocketKind> Copy for SocketListenerRef<'_, K> {}
