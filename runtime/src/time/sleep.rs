use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::timers::{Sleeper, TimerKey};
use crate::domain::{Domain, Message, RemoteHandle};
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// Waits until `duration` has passed on the clock of the domain's driver.
///
/// The time counts from the call, not from the first poll. A duration that ends beyond what the
/// clock can tell (such as [`Duration::MAX`]) never ends; zero yields once at most.
///
/// # Cancel safety
///
/// Dropping the future takes the timer back.
///
/// # Panics
///
/// Outside a run.
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
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(duration)
}

/// Waits until `deadline`; see [`sleep`].
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use matou_runtime::{RunError, run, sleep_until};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     sleep_until(Instant::now()).await; // a past moment is no reason to wait
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(Some(deadline))
}

/// Returns the time of the current domain's driver, which may be a virtual one.
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn now() -> Instant {
    Domain::with("`now`", Domain::now)
}

/// The future of [`sleep`] and [`sleep_until`]. It is `Send` and `Sync`, as the timer traits of
/// other libraries demand; polled on another domain it moves its timer there.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    /// None: never.
    deadline: Option<Instant>,
    timer: Option<Timer>,
    /// Whether it was still to come when it was made. Then the clock need not be asked once more
    /// before the timer is set; one that has passed meanwhile fires at the next turn.
    ahead: bool,
    done: bool,
    at: &'static Location<'static>,
}

/// A timer that was set.
struct Timer {
    remote: Arc<RemoteHandle>,
    key: TimerKey,
}

impl Sleep {
    #[track_caller]
    pub(crate) fn new(duration: Duration) -> Sleep {
        let deadline = Domain::with("`sleep`", Domain::now).checked_add(duration);
        Sleep::made(deadline, !duration.is_zero())
    }

    #[track_caller]
    pub(super) fn until(deadline: Option<Instant>) -> Sleep {
        Sleep::made(deadline, false)
    }

    #[track_caller]
    fn made(deadline: Option<Instant>, ahead: bool) -> Sleep {
        Sleep { deadline, timer: None, ahead, done: false, at: Location::caller() }
    }

    /// Returns when it ends; `None` if it never does.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The line that made it.
    pub(super) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// Whether the timer that was set on this domain is still to fire; its waker is kept current.
    fn is_set(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Option<bool> {
        let timer = self.timer.as_ref()?;
        if !domain.has_handle(&timer.remote) {
            self.withdraw();
            return None;
        }
        let key = timer.key;
        let Some(known) = domain.timers().borrow_mut().wakes(key, cx.waker(), domain) else {
            return Some(false);
        };
        if !known {
            // A foreign waker may run anything when it is cloned or dropped.
            let sleeper = Sleeper::of(cx.waker(), domain);
            let old = domain.timers().borrow_mut().redirect(key, sleeper);
            drop(old);
        }
        Some(true)
    }

    fn set(&mut self, domain: &Domain, deadline: Instant, cx: &mut Context<'_>) {
        let sleeper = Sleeper::of(cx.waker(), domain);
        let key = domain.timers().borrow_mut().insert(deadline, sleeper);
        self.timer = Some(Timer { remote: Arc::clone(domain.remote()), key });
    }

    fn withdraw(&mut self) {
        let Some(Timer { remote, key }) = self.timer.take() else {
            return;
        };
        let here = Domain::try_with(|domain| {
            let is_current = domain.has_handle(&remote);
            is_current.then(|| domain.timers().borrow_mut().remove(key))
        });
        match here.flatten() {
            Some(sleeper) => drop(sleeper),
            None => remote.send(Message::TimerDropped(key)),
        }
    }
}

impl Sleep {
    /// Polls it without saying that the task waits for it.
    pub(crate) fn poll_quietly(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        Domain::with("`sleep`", |domain| {
            if this.done {
                return Poll::Ready(());
            }
            match this.is_set(domain, cx) {
                Some(true) => return Poll::Pending,
                Some(false) => this.timer = None,
                None => {
                    let is_ahead = |deadline| this.ahead || deadline > domain.now();
                    if this.deadline.is_none_or(is_ahead) {
                        if let Some(deadline) = this.deadline {
                            this.set(domain, deadline, cx);
                        }
                        return Poll::Pending;
                    }
                    ready!(domain.spend_budget(cx));
                }
            }
            this.done = true;
            Poll::Ready(())
        })
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = self.as_mut().poll_quietly(cx);
        if poll.is_pending() {
            let target = self.deadline.map_or(WaitTarget::Unknown, WaitTarget::Deadline);
            BlockedOn::new(WaitSite::new("sleep", self.at), target).note();
        }
        poll
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
