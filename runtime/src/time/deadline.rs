use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::sleep::Sleep;
use super::timeout::Elapsed;
use crate::domain::Domain;
use crate::panics::polled_after_completion;
use crate::task::{TaskDeadline, TaskId};

/// Runs `future` until `instant` at the latest, together with all the children that it spawns.
///
/// Like [`timeout`](crate::timeout), it drops the future when the deadline has elapsed. In
/// addition, children inherit the deadline: each child that is spawned or called inside is
/// cancelled when the deadline elapses, wherever its promise is, and so are the descendants of that
/// child. A nested deadline can only shorten the time: the earliest one applies. [`remaining`]
/// returns how much time is left. A [`shield`](crate::shield) does not inherit deadlines.
///
/// # Errors
///
/// Returns [`Elapsed`] if the deadline elapsed first. A future that is ready at its first poll
/// always wins.
///
/// # Cancel safety
///
/// As cancel safe as `future`.
///
/// # Panics
///
/// The future panics when it is polled outside a run, or after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
/// use matou_runtime::{RunError, TaskError, deadline, now, remaining, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let soon = now() + Duration::from_millis(5);
///     let child = deadline(soon, async {
///         spawn(async {
///             assert!(remaining().is_some_and(|left| left <= Duration::from_millis(5)));
///             pending::<()>().await;
///         })
///     });
///     // The block completes in time. The child does not, and keeps its deadline.
///     match child.await?.await {
///         Err(TaskError::Cancelled(cancelled)) => assert!(cancelled.at().is_some()), // that line
///         other => panic!("{other:?}"),
///     }
///     assert_eq!(remaining(), None);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "timeout_at")]
#[track_caller]
pub fn deadline<F: Future>(instant: Instant, future: F) -> Deadline<F> {
    let set_at = Location::caller();
    let set_by = Domain::try_with(|domain| domain.current_key().id).unwrap_or(TaskId::NONE);
    let sleep = Sleep::until(Some(instant));
    Deadline { future: Some(future), sleep, limit: TaskDeadline { at: instant, set_by, set_at } }
}

/// Returns the time until the [`deadline`] of the current code; `None` if it has none, zero if the
/// deadline has passed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{RunError, deadline, now, remaining, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     assert_eq!(remaining(), None);
///     let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
///     deadline(now() + minute, async move {
///         deadline(now() + hour, async move {
///             assert!(remaining().unwrap() <= minute); // the earliest one applies
///         })
///         .await
///     })
///     .await??;
///     Ok(())
/// })
/// # }
/// ```
pub fn remaining() -> Option<Duration> {
    Domain::try_with(|domain| {
        let limit = domain.deadline()?;
        Some(limit.at.saturating_duration_since(domain.now()))
    })
    .flatten()
}

pin_project! {
    /// The future of [`deadline`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Deadline<F> {
        // None after the deadline has elapsed.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: Sleep,
        limit: TaskDeadline,
    }
}

/// Restores the deadline of the surrounding code, also when the code inside panics.
struct RestoreDeadline(Option<TaskDeadline>);

impl Drop for RestoreDeadline {
    fn drop(&mut self) {
        Domain::try_with(|domain| domain.replace_deadline(self.0));
    }
}

impl<F: Future> Future for Deadline<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            polled_after_completion("`Deadline`", this.limit.set_at)
        };
        let outer = Domain::with("`deadline`", |domain| {
            domain.replace_deadline(Some(this.limit.earlier(domain.deadline())))
        });
        let restore = RestoreDeadline(outer);
        let poll = future.poll(cx);
        drop(restore);
        if let Poll::Ready(output) = poll {
            return Poll::Ready(Ok(output));
        }
        // Reports should show what `future` waits for, so this wait is not recorded.
        if this.sleep.poll_unrecorded(cx).is_pending() {
            return Poll::Pending;
        }
        Domain::abandon_branch(this.limit.set_at, || this.future.set(None));
        Poll::Ready(Err(Elapsed))
    }
}
