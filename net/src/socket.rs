//! The resource that a socket is, and the handle that every type of socket has.

use std::fmt;
use std::sync::Arc;

use matou_ownership::{FinalizeStatus, Resource, ResourceHandle, Ticket, own, release};
use matou_runtime::{Direction, WakerKey};

use crate::backend::{Backend, InMemorySocket};

/// The shared part of a socket. The owner's ledger holds it as well, so that the socket is closed
/// even if its handle is unreachable.
///
/// `repr(C)`: every operation reads the backend and the beginning of the ticket, which are adjacent
/// in this order.
#[repr(C)]
struct Socket<S: InMemorySocket> {
    backend: Backend<S>,
    ticket: Ticket,
    /// Replaces the close of the backend, where more or less than that is necessary.
    finalizer: Option<Finalizer<S>>,
}

pub(crate) type Finalizer<S> = Box<dyn Fn(&Backend<S>) + Send + Sync>;

/// The handle of a socket, or of one half of a stream. Dropping it releases the resource.
pub(crate) struct Handle<S: InMemorySocket> {
    socket: Arc<Socket<S>>,
}

impl<S: InMemorySocket> Handle<S> {
    /// Creates a resource of the current task.
    ///
    /// The caller passes the ticket because a ticket records the line that creates it: the line of
    /// the user's program, which is not available when a future is polled.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: Backend<S>) -> Handle<S> {
        Handle::owned(Socket { backend, ticket, finalizer: None })
    }

    /// Creates a resource of the current task whose `finalizer` runs in place of the close.
    #[track_caller]
    pub(crate) fn with_finalizer(
        ticket: Ticket,
        backend: Backend<S>,
        finalizer: Finalizer<S>,
    ) -> Handle<S> {
        Handle::owned(Socket { backend, ticket, finalizer: Some(finalizer) })
    }

    #[track_caller]
    fn owned(socket: Socket<S>) -> Handle<S> {
        let socket = Arc::new(socket);
        own(&(Arc::clone(&socket) as Arc<dyn Resource>));
        Handle { socket }
    }

    #[inline]
    pub(crate) fn backend(&self) -> &Backend<S> {
        &self.socket.backend
    }

    /// Removes the waker of a future that is dropped, if it waits.
    #[inline]
    pub(crate) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        if key.is_set() {
            self.backend().cancel_wait(direction, key);
        }
    }
}

impl<S: InMemorySocket> ResourceHandle for Handle<S> {
    fn ticket(&self) -> &Ticket {
        &self.socket.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.socket.clone()
    }
}

impl<S: InMemorySocket> Drop for Handle<S> {
    fn drop(&mut self) {
        release(self);
    }
}

impl<S: InMemorySocket> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl<S: InMemorySocket> Resource for Socket<S> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        match &self.finalizer {
            Some(finalizer) => finalizer(&self.backend),
            None => drop(self.backend.close()),
        }
        FinalizeStatus::Done
    }
}

impl<S: InMemorySocket> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("ticket", &self.ticket)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}
