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
/// event until it is rearmed. A completion-based system is one-shot if it reports readiness, as
/// `IORING_OP_POLL_ADD` does; completions of transfers do not fit this trait.
///
/// # One-shot pollers
///
/// - An event clears the interest in both directions. Clear it before
///   [`set_ready`](Registration::set_ready), which calls [`rearm`](Poller::rearm) if a task still
///   waits in the other direction.
/// - `rearm` on an armed source replaces the interest.
/// - A cancelled wait leaves the source armed. Its next event may wake a task that no longer waits.
/// - [`Readiness::closed`] can always be `false` if `rearm` finds readiness that exists already,
///   such as the end of a stream, also after an earlier event has reported it.
///
/// # Threads
///
/// - [`mode`](Poller::mode) and [`register`](Poller::register) are called on the thread of the
///   poller's domain, never during [`Driver::park`](super::Driver::park).
/// - `rearm` is called on that thread before a wait, and inside `set_ready` on the thread that
///   calls it. That can be the thread of another domain, if its poller delivers an event for a
///   source that has just moved here. Inside `set_ready`, `rearm` adds no direction to those that
///   a parked poller watches, so it need not unpark.
/// - [`deregister`](Poller::deregister) is called on any thread, also during `park` and while the
///   driver is being dropped: when the source is closed, and when it moves to another domain.
///
/// # End of the driver
///
/// A registration and its poller refer to each other. When the driver is dropped, it must remove
/// all registrations from the poller and call [`Registration::detach`] for each, so that a source
/// that outlives the domain does not keep the poller alive.
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
    ///
    /// The source may be closed as soon as this returns. From then on its number may denote another
    /// file, so the poller must not use it; and the poller must not keep the file open, or the peer
    /// does not learn of the end. If a [`park`](super::Driver::park) on the domain's thread may
    /// hold a duplicate of the descriptor or watch the file, make it return, for example by the
    /// driver's [`Unpark`](super::Unpark).
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
    /// as a sign that the next one would block; this lasts until the source moves to another
    /// domain. Set it for the end of a stream, for errors and for urgent data (`EPOLLPRI`, before
    /// which a read ends early), or always if an edge-triggered poller does not know. A one-shot
    /// poller whose [`rearm`](Poller::rearm) finds existing readiness can leave it `false`.
    pub closed: bool,
}

/// A source of I/O that is registered with a [`Poller`], which keeps it to deliver events.
///
/// It stands for one registration: once the source has moved to another poller, its methods have no
/// effect.
#[derive(Clone)]
pub struct Registration {
    pub(super) source: Arc<SourceState>,
    /// Counts the registrations of the source.
    pub(super) number: u64,
}

impl Registration {
    /// Delivers an event: wakes the tasks that wait for it.
    ///
    /// An event for a source that is not ready is allowed, and costs one attempt.
    pub fn set_ready(&self, readiness: Readiness) {
        self.source.set_ready(self.number, readiness);
    }

    /// Ends the registration, because the poller stops working: wakes the tasks that wait. They
    /// register again where they are polled.
    ///
    /// A driver calls it for all registrations that are left when it is dropped. Otherwise a source
    /// that outlives the domain and the poller would keep each other alive.
    pub fn detach(&self) {
        self.source.detach(self.number);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.source).finish()
    }
}

impl fmt::Debug for dyn Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
