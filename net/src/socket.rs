//! The resource that a socket handle owns.

use std::fmt;
use std::sync::Arc;

use matou_ownership::{FinalizeStatus, Resource, Ticket, own};

use crate::backend::{Backend, InMemorySocket};

/// The shared part of a socket. The owner's ledger holds it as well, so that the socket is closed
/// even if its handle is unreachable.
///
/// `repr(C)`: every operation reads the backend and the beginning of the ticket, which are adjacent
/// in this order.
#[repr(C)]
pub(crate) struct Socket<S: InMemorySocket> {
    backend: Backend<S>,
    ticket: Ticket,
    /// Replaces the close of the backend, where more or less than that is necessary.
    finalizer: Option<Finalizer<S>>,
}

pub(crate) type Finalizer<S> = Box<dyn Fn(&Backend<S>) + Send + Sync>;

impl<S: InMemorySocket> Socket<S> {
    /// Creates a resource of the current task.
    ///
    /// The caller passes the ticket because a ticket records the line that creates it: the line of
    /// the user's program, which is not available when a future is polled.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: Backend<S>) -> Arc<Socket<S>> {
        Socket { backend, ticket, finalizer: None }.owned()
    }

    /// Creates a resource of the current task whose `finalizer` runs in place of the close.
    #[track_caller]
    pub(crate) fn with_finalizer(
        ticket: Ticket,
        backend: Backend<S>,
        finalizer: Finalizer<S>,
    ) -> Arc<Socket<S>> {
        Socket { backend, ticket, finalizer: Some(finalizer) }.owned()
    }

    #[track_caller]
    fn owned(self) -> Arc<Socket<S>> {
        let socket = Arc::new(self);
        own(&(Arc::clone(&socket) as Arc<dyn Resource>));
        socket
    }

    #[inline]
    pub(crate) fn backend(&self) -> &Backend<S> {
        &self.backend
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
