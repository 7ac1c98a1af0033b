//! The receiving side of a domain's message queue.

use std::cell::RefCell;
use std::sync::Arc;

use super::adaptive_spin::AdaptiveSpin;
use super::{Message, RemoteHandle};

/// The messages of a domain, as its own thread sees them.
pub(super) struct Mailbox {
    remote: Arc<RemoteHandle>,
    /// The messages that are being handled; kept to reuse the allocation.
    drained: RefCell<Vec<Message>>,
    spin: AdaptiveSpin,
}

impl Mailbox {
    /// Creates the mailbox of one of `domains` domains.
    pub(super) fn new(remote: Arc<RemoteHandle>, domains: usize) -> Mailbox {
        let spin = AdaptiveSpin::for_domains(domains);
        Mailbox { remote, drained: RefCell::default(), spin }
    }

    #[inline]
    pub(super) fn remote(&self) -> &Arc<RemoteHandle> {
        &self.remote
    }

    /// Passes the messages that have arrived to `handle`, but none that arrives during the call: a
    /// flood of messages must not keep the domain from polling its tasks.
    #[inline]
    pub(super) fn drain(&self, handle: impl Fn(Message)) {
        if self.remote.is_empty() {
            return;
        }
        // Taken out rather than borrowed: a handler may run user code that accesses the mailbox.
        let mut rest = self.drained.take();
        if let Some(first) = self.remote.take(&mut rest) {
            handle(first);
        }
        for message in rest.drain(..) {
            handle(message);
        }
        self.drained.replace(rest);
    }

    /// Waits for a message for some microseconds, if that has paid off lately. Returns whether one
    /// has arrived.
    pub(super) fn spin(&self) -> bool {
        self.spin.spin_until(|| !self.remote.is_empty())
    }

    /// Closes the queue and returns the messages that are left.
    pub(super) fn close(&self) -> impl Iterator<Item = Message> + use<> {
        self.remote.close();
        let mut rest = self.drained.take();
        self.remote.take(&mut rest).into_iter().chain(rest)
    }
}
