use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::sleep::Sleep;
use super::timeout::Elapsed;
use crate::domain::Domain;
use crate::task::{TaskDeadline, TaskId};

/// Runs `future` until `instant` at the latest, and with it all the children that it makes.
///
/// Like [`timeout`](crate::timeout) it gives the future up when the time has come. Besides, the
/// deadline is inherited: each child that is spawned or called inside is born with it, wherever its
/// promise goes, and is cancelled when it passes; so are the children of those. Deadlines inside
/// deadlines only shorten the time: the least of all holds. [`remaining`] tells how much is left.
/// A [`shield`](crate::shield) keeps deadlines out.
///
/// # Errors
///
/// [`Elapsed`] if the time came first. A future that is ready at its first poll always wins.
///
/// # Cancel safety
///
/// As safe as `future` is.
///
/// # Panics
///
/// When it is polled outside a run.
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
///     // The block is over in time, but the child is not, and its deadline stays.
///     match child.await?.await {
///         Err(TaskError::Cancelled(cancelled)) => assert!(cancelled.at().is_some()), // that line
///         other => panic!("{other:?}"),
///     }
///     assert_eq!(remaining(), None);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn deadline<F: Future>(instant: Instant, future: F) -> Deadline<F> {
    let set_at = Location::caller();
    let set_by = Domain::try_with(|domain| domain.current_key().id).unwrap_or(TaskId::NONE);
    let sleep = Sleep::until(Some(instant));
    Deadline { future: Some(future), sleep, limit: TaskDeadline { at: instant, set_by, set_at } }
}

/// Returns how much time the present code has left; `None` if there is no [`deadline`] around it.
/// Zero if the deadline has passed.
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
///             assert!(remaining().unwrap() <= minute); // the least of all holds
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
        // None once it is given up.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: Sleep,
        limit: TaskDeadline,
    }
}

/// Puts the deadline of the code around back, also when the code inside panics.
struct Undo(Option<TaskDeadline>);

impl Drop for Undo {
    fn drop(&mut self) {
        Domain::try_with(|domain| domain.replace_deadline(self.0));
    }
}

impl<F: Future> Future for Deadline<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future =
            this.future.as_mut().as_pin_mut().expect("`Deadline` is polled after it was ready");
        let around = Domain::with("`deadline`", |domain| {
            domain.replace_deadline(Some(this.limit.earlier(domain.deadline())))
        });
        let undo = Undo(around);
        let poll = future.poll(cx);
        drop(undo);
        if let Poll::Ready(output) = poll {
            return Poll::Ready(Ok(output));
        }
        // The wait that a report should name is the future's, so this one is not noted.
        if this.sleep.poll_quietly(cx).is_pending() {
            return Poll::Pending;
        }
        Domain::abandon(this.limit.set_at, || this.future.set(None));
        Poll::Ready(Err(Elapsed))
    }
}
