//! The interface of a domain to the operating system: the traits, and the default implementation.

mod direction;
mod poller;
mod reactor;
mod source;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use direction::Direction;
pub use poller::{Interest, PollMode, Poller, Readiness, Registration, Token};
pub use reactor::Reactor;

pub(crate) use source::{Attempt, SourceState, WaitContext, Waiter};

/// The interface of a domain to the operating system: a clock, a way to wait, and a way to end the
/// wait.
///
/// Each domain has a driver, which is created on the domain's thread and used by that thread only;
/// other threads use the handles that [`unparker`](Driver::unparker) and [`poller`](Driver::poller)
/// return. [`Reactor`] is the default; [`Builder::driver`](crate::Builder::driver) sets another
/// one.
///
/// A driver with a [`Poller`] supports [`IoSource`](crate::IoSource), and thereby the sockets of
/// `matou-net`. A driver without one supports everything else; operations that have to wait for I/O
/// fail with [`Unsupported`](io::ErrorKind::Unsupported). A driver that only changes how time
/// passes can contain a [`Reactor`] and return its poller.
///
/// A panic of [`now`](Driver::now) or [`park`](Driver::park) is an error of the driver, and fails
/// the run.
///
/// A driver with a poller of its own must call [`Registration::detach`] for the sources that are
/// still registered when it is dropped: a source may outlive its domain, for example in a static.
///
/// # Examples
///
/// A driver whose clock advances to the next deadline, so that sleeping takes no time:
///
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use matou_runtime::{Builder, Driver, ParkTimeout, RunError, Unpark, now, sleep};
///
/// struct VirtualTime(Cell<Instant>);
///
/// struct NoUnpark;
/// impl Unpark for NoUnpark {
///     fn unpark(&self) {}
/// }
///
/// impl Driver for VirtualTime {
///     fn now(&self) -> Instant {
///         self.0.get()
///     }
///     fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
///         if let ParkTimeout::Deadline(deadline) = timeout {
///             self.0.set(self.0.get().max(deadline));
///         }
///         Ok(())
///     }
///     fn unparker(&self) -> Arc<dyn Unpark> {
///         Arc::new(NoUnpark)
///     }
/// }
///
/// # fn main() -> Result<(), RunError> {
/// let start = Instant::now();
/// let builder = Builder::new().domains(1).driver(move |_| Ok(VirtualTime(Cell::new(start))));
/// builder.run(async {
///     let before = now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(now() - before, Duration::from_secs(3600));
///     Ok(())
/// })
/// # }
/// ```
pub trait Driver: 'static {
    /// Returns the current time. It never decreases.
    fn now(&self) -> Instant;

    /// Waits until `timeout`, an event, or a call of [`Unpark::unpark`], and wakes the tasks that
    /// wait for the events. It may return early.
    ///
    /// # Errors
    ///
    /// When the system cannot wait; the run fails with the error. An interrupted system call is not
    /// an error.
    fn park(&self, timeout: ParkTimeout) -> io::Result<()>;

    /// Returns a handle that makes the current or the next [`park`](Driver::park) return, from any
    /// thread. Called once.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// Returns the poller that the domain's sources of I/O register with, if the driver has one.
    /// Called once. The poller may outlive the driver.
    fn poller(&self) -> Option<Arc<dyn Poller>> {
        None
    }
}

/// Makes the current or the next [`Driver::park`] of a domain return.
pub trait Unpark: Send + Sync + 'static {
    /// Unparks the domain. Called only if the domain is parked, or about to park.
    ///
    /// It must not panic: a domain that is not unparked may wait forever, so a panic aborts the
    /// process.
    fn unpark(&self);
}

impl fmt::Debug for dyn Unpark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpark")
    }
}

/// How long [`Driver::park`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkTimeout {
    /// Do not wait: only look for events.
    Immediate,
    /// Until this moment.
    Deadline(Instant),
    /// Until an event occurs.
    Forever,
}

impl ParkTimeout {
    /// Returns how long the driver may wait; `None` if there is no limit. `now` is its clock, which
    /// is read only if there is a deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use matou_runtime::ParkTimeout;
    ///
    /// let now = Instant::now();
    /// let timeout = ParkTimeout::Deadline(now + Duration::from_secs(2));
    /// assert_eq!(timeout.remaining(|| now), Some(Duration::from_secs(2)));
    /// assert_eq!(ParkTimeout::Forever.remaining(|| now), None);
    /// ```
    pub fn remaining(self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        match self {
            ParkTimeout::Immediate => Some(Duration::ZERO),
            ParkTimeout::Deadline(deadline) => Some(deadline.saturating_duration_since(now())),
            ParkTimeout::Forever => None,
        }
    }
}
