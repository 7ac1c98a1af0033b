//! What a domain needs of an event monitor, and the default one.

mod io;
mod reactor;
mod side;
mod sys;

use std::fmt;
use std::io as std_io;
use std::sync::Arc;
use std::time::Instant;

pub use io::IoSource;
pub use reactor::Reactor;
pub use side::Direction;

/// What a domain needs of an event monitor: wait, be interrupted, tell the time.
///
/// Each domain has its own driver, made on the domain's thread and used by that thread alone; only
/// what [`unparker`](Driver::unparker) returns goes to others. [`Reactor`] is the default;
/// [`Builder::driver`](crate::Builder::driver) brings another one, for example one whose time is
/// virtual.
///
/// # Examples
///
/// A driver whose clock jumps to the next deadline, so that sleeping takes no time:
///
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use matou_runtime::{Builder, Driver, Unpark, RunError, ParkTimeout, now, sleep};
///
/// struct Jumping(Cell<Instant>);
///
/// struct Nothing;
/// impl Unpark for Nothing {
///     fn unpark(&self) {}
/// }
///
/// impl Driver for Jumping {
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
///         Arc::new(Nothing)
///     }
/// }
///
/// # fn main() -> Result<(), RunError> {
/// let builder = Builder::new().domains(1).driver(|_| Ok(Jumping(Cell::new(Instant::now()))));
/// builder.run(async {
///     let before = now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(now() - before, Duration::from_secs(3600));
///     Ok(())
/// })
/// # }
/// ```
pub trait Driver: 'static {
    /// Tells the time. Never goes back.
    fn now(&self) -> Instant;

    /// Waits until `timeout`, or until something happens or somebody interrupts, whichever is first,
    /// and wakes the tasks concerned. Returning early is always allowed.
    ///
    /// # Errors
    ///
    /// When the system refuses to wait: the run fails with that error. An interrupted system call
    /// is no error.
    fn park(&self, timeout: ParkTimeout) -> std_io::Result<()>;

    /// Hands out what makes the present or the next [`park`](Driver::park) return, for any thread.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// Returns the reactor that sockets of this domain register with, if the driver has one.
    fn reactor(&self) -> Option<&Reactor> {
        None
    }
}

/// Makes a domain's present or next wait return.
pub trait Unpark: Send + Sync + 'static {
    /// Interrupts. Called only when the domain sleeps or is about to.
    fn unpark(&self);
}

impl fmt::Debug for dyn Unpark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpark")
    }
}

/// How long a driver may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkTimeout {
    /// Not at all: only look what has happened.
    Immediate,
    /// Until this moment.
    Deadline(Instant),
    /// Until something happens.
    Forever,
}
