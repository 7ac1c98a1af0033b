use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::domain::{Domain, Timer};
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// Waits until `duration` has passed on the clock of the domain's driver.
///
/// The duration counts from the call, not from the first poll. A duration that ends beyond the
/// range of the clock (such as [`Duration::MAX`]) never ends; a duration of zero yields at most
/// once.
///
/// # Cancel safety
///
/// Dropping the future removes its timer.
///
/// # Panics
///
/// Panics outside a run.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use matou_runtime::{RunError, run, sleep};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let before = Instant::now();
///     sleep(Duration::from_millis(5)).await;
///     assert!(before.elapsed() >= Duration::from_millis(5));
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "Timer")]
#[doc(alias = "delay")]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(duration)
}

/// Waits until `deadline`; see [`sleep`].
///
/// # Cancel safety
///
/// Dropping the future removes its timer.
///
/// # Panics
///
/// The future panics when it is polled outside a run.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use matou_runtime::{RunError, run, sleep_until};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     sleep_until(Instant::now()).await; // returns at once: the deadline has passed
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(Some(deadline))
}

/// Returns the time on the clock of the current domain's driver, which is virtual in a
/// [simulated](crate::test) run.
///
/// # Panics
///
/// Panics outside a run.
#[track_caller]
pub fn now() -> Instant {
    Domain::with("`now`", Domain::now)
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It is `Send` and `Sync`, as the timer traits of other libraries require. When it is polled on
/// another domain, its timer moves there.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    timer: Timer,
    /// The line that created it.
    location: &'static Location<'static>,
}

impl Sleep {
    #[track_caller]
    pub(super) fn new(duration: Duration) -> Sleep {
        let timer = Domain::with("`sleep`", |domain| Timer::after(domain, duration));
        Sleep { timer, location: Location::caller() }
    }

    #[track_caller]
    pub(super) fn until(deadline: Option<Instant>) -> Sleep {
        Sleep { timer: Timer::at(deadline), location: Location::caller() }
    }

    /// Returns when it completes; `None` if it never does.
    pub fn deadline(&self) -> Option<Instant> {
        self.timer.deadline()
    }

    /// Makes it complete at `deadline` instead, also if it has completed already.
    ///
    /// A limit that each step of some work puts off needs no new future for each of them. Poll the
    /// future afterwards: until then it does not wake its task.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use matou_runtime::{RunError, now, run, sleep};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut idle = sleep(Duration::from_secs(3600));
    ///     idle.reset(now() + Duration::from_millis(1));
    ///     (&mut idle).await;
    ///     idle.reset(now() + Duration::from_millis(1));
    ///     idle.await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "set_after")]
    #[doc(alias = "set_at")]
    pub fn reset(&mut self, deadline: Instant) {
        self.timer.reset(deadline);
    }

    /// Returns the line that created it.
    pub(super) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Polls it without recording it as what the task is blocked on.
    #[track_caller]
    pub(super) fn poll_unrecorded(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let timer = &mut self.get_mut().timer;
        Domain::with("`sleep`", |domain| timer.poll(domain, cx))
    }
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = self.as_mut().poll_unrecorded(cx);
        if poll.is_pending() {
            let target = self.deadline().map_or(WaitTarget::Unknown, WaitTarget::Deadline);
            BlockedOn::new(WaitSite::new("sleep", self.location), target).note();
        }
        poll
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline()).finish_non_exhaustive()
    }
}
