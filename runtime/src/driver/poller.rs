use std::fmt;
use std::io;
use std::sync::Arc;

use super::source::SourceState;
use crate::sys::BorrowedSource;

/// The part of a [`Driver`](super::Driver) that sources of I/O register with.
///
/// A source registers when an operation on it first has to wait, with the poller of the domain that
/// the task runs on. It stays registered until it is closed, or until it has to wait on another
/// domain. The poller keeps the [`Registration`], and calls [`Registration::set_ready`] for the
/// events that it finds in [`Driver::park`](super::Driver::park).
///
/// # Two kinds of pollers
///
/// An *edge-triggered* poller (epoll and kqueue can be one) reports each change to readiness once,
/// for both directions, without further calls. A *one-shot* poller has no interest in a new source:
/// before it waits, the runtime calls [`rearm`](Poller::rearm), and an event clears the interest
/// again. Level-triggered systems such as `poll(2)` are made one-shot by ignoring a source after an
/// event until it is rearmed.
///
/// # Locks
///
/// All methods are called while the runtime holds the lock of the source, also from inside
/// [`Registration::set_ready`]. So a poller must not call a method of a [`Registration`] in them,
/// nor hold a lock that they acquire when it calls one. Collect clones of the registrations with
/// events, release the lock, then call `set_ready`.
pub trait Poller: Send + Sync + 'static {
    /// Returns how the poller delivers events. Called once for each registration.
    fn mode(&self) -> PollMode;

    /// Adds a source.
    ///
    /// `source` stays open until [`deregister`](Poller::deregister), as long as the poller keeps
    /// the registration. An edge-triggered poller must report readiness that exists at this moment.
    ///
    /// # Errors
    ///
    /// When the source cannot be added; the operation that has to wait fails with the error.
    fn register(&self, source: BorrowedSource<'_>, registration: Registration)
    -> io::Result<Token>;

    /// Sets the interest in a source until its next event. Called only in [`PollMode::OneShot`].
    ///
    /// The poller must report readiness that exists at this moment.
    ///
    /// # Errors
    ///
    /// When the interest cannot be set; the operations that have to wait fail with the error.
    fn rearm(
        &self,
        source: BorrowedSource<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let _ = (source, token, interest);
        Ok(())
    }

    /// Removes a source, which is still open, and drops its registration.
    fn deregister(&self, source: BorrowedSource<'_>, token: Token);
}

/// How a [`Poller`] delivers events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollMode {
    /// It reports each change to readiness once. [`Poller::rearm`] is not called.
    EdgeTriggered,
    /// An event clears the interest in its source. [`Poller::rearm`] sets it before each wait.
    OneShot,
}

/// Identifies a source within its [`Poller`], which chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub usize);

/// The directions that a one-shot [`Poller`] must watch. At least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interest {
    /// A task waits to read.
    pub readable: bool,
    /// A task waits to write.
    pub writable: bool,
}

impl Interest {
    pub(super) fn new(readable: bool, writable: bool) -> Option<Interest> {
        (readable || writable).then_some(Interest { readable, writable })
    }
}

/// The readiness of a source that an event reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// An operation in [`Direction::Read`](super::Direction::Read) may succeed or fail now.
    pub readable: bool,
    /// An operation in [`Direction::Write`](super::Direction::Write) may succeed or fail now.
    pub writable: bool,
    /// No later event may announce the same readiness. If it is set, a short transfer is not taken
    /// as a sign that the next one would block. Set it for the end of a stream and for errors, or
    /// always if the poller does not know.
    pub closed: bool,
}

/// A source of I/O that is registered with a [`Poller`], which keeps it to deliver events.
#[derive(Clone)]
pub struct Registration(pub(super) Arc<SourceState>);

impl Registration {
    /// Delivers an event: wakes the tasks that wait for it.
    ///
    /// An event for a source that is not ready is allowed, and costs one attempt.
    pub fn set_ready(&self, readiness: Readiness) {
        self.0.set_ready(readiness);
    }

    /// Ends the registration, because the poller stops working: wakes the tasks that wait. They
    /// register again where they are polled.
    ///
    /// A driver calls it for all registrations that are left when it is dropped. Otherwise a source
    /// that outlives the domain and the poller would keep each other alive.
    pub fn detach(&self) {
        self.0.detach();
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.0).finish()
    }
}

impl fmt::Debug for dyn Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
