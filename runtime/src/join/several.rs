//! Waiting for several promises.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Cancel, Promise};
use crate::domain::Domain;
use crate::outcome::Outcome;
use crate::panics::polled_after_completion;
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// Waits for all promises and returns their outcomes in order. The failure of one child does not
/// cancel the others.
///
/// # Cancel safety
///
/// Dropping the future drops its promises, also of the children that have ended.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, await_all, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let promises = (1..=3).map(|n| spawn(async move { n * n }));
///     let outcomes = await_all(promises).await;
///     let squares: Vec<i32> = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
///     assert_eq!(squares, [1, 4, 9]);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "join_all")]
#[doc(alias = "join")]
#[track_caller]
pub fn await_all<T, E>(promises: impl IntoIterator<Item = Promise<T, E>>) -> AwaitAll<T, E> {
    let promises = promises.into_iter().collect();
    AwaitAll { promises, ended: 0, was_polled: false, done: false, at: Location::caller() }
}

/// The future of [`await_all`].
#[must_use = "futures do nothing unless polled"]
pub struct AwaitAll<T, E = Infallible> {
    /// The outcomes stay in them until all children have ended, so that a failure is reported if
    /// this future is dropped before.
    promises: Vec<Promise<T, E>>,
    /// The number of children at the beginning of the list that have ended. The next one is
    /// awaited; the others are not polled before it has ended, in whatever order the children
    /// complete.
    ended: usize,
    was_polled: bool,
    done: bool,
    at: &'static Location<'static>,
}

impl<T, E> Future for AwaitAll<T, E> {
    type Output = Vec<Outcome<T, E>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.done {
            polled_after_completion("`AwaitAll`", this.at);
        }
        this.was_polled = true;
        let site = WaitSite::new("promise (of several)", this.at);
        while let Some(promise) = this.promises.get_mut(this.ended) {
            ready!(promise.poll_end(site, cx));
            this.ended += 1;
        }
        this.done = true;
        let promises = std::mem::take(&mut this.promises);
        let take = |domain: &Domain| {
            promises.into_iter().map(|promise| promise.into_outcome(domain)).collect()
        };
        // Without promises this works outside a run, too.
        Poll::Ready(Domain::try_with(take).unwrap_or_default())
    }
}

impl<T, E> Unpin for AwaitAll<T, E> {}

impl<T, E> Drop for AwaitAll<T, E> {
    fn drop(&mut self) {
        // The first promise was polled on behalf of all: dropping the others gives them up.
        if self.was_polled {
            self.promises.iter().for_each(Promise::mark_polled);
        }
    }
}

impl<T, E> fmt::Debug for AwaitAll<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.promises.len() - self.ended;
        f.debug_struct("AwaitAll").field("left", &left).finish_non_exhaustive()
    }
}

/// Waits for the first child to complete and returns its outcome. The others are cancelled, and are
/// complete when the future is ready.
///
/// If several children are complete, the run's seed decides which one is the first.
///
/// # Panics
///
/// If there is no promise.
///
/// # Cancel safety
///
/// Dropping the future drops its promises.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, await_first, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let first = await_first([spawn(pending()), spawn(async { "quick" })]).await?;
///     assert_eq!(first, "quick");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select")]
#[doc(alias = "select_ok")]
#[track_caller]
pub fn await_first<T, E>(promises: impl IntoIterator<Item = Promise<T, E>>) -> AwaitFirst<T, E> {
    let promises: Vec<_> = promises.into_iter().collect();
    assert!(!promises.is_empty(), "`await_first` needs a promise to wait for");
    AwaitFirst { promises, winner: None, losers: Vec::new(), at: Location::caller() }
}

/// The future of [`await_first`].
#[must_use = "futures do nothing unless polled"]
pub struct AwaitFirst<T, E = Infallible> {
    /// Empty once a child is complete.
    promises: Vec<Promise<T, E>>,
    /// The child that was the first. Its outcome stays in the promise until the others have ended,
    /// so that a failure is reported if this future is dropped before.
    winner: Option<Promise<T, E>>,
    losers: Vec<Cancel<T, E>>,
    at: &'static Location<'static>,
}

impl<T, E> Future for AwaitFirst<T, E> {
    type Output = Outcome<T, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.winner.is_none() {
            if this.promises.is_empty() {
                polled_after_completion("`AwaitFirst`", this.at);
            }
            let site = WaitSite::new("the first of several promises", this.at);
            let first = ready!(poll_any(&mut this.promises, site, cx));
            let winner = this.promises.remove(first);
            // Dropping this future gives the child up, also if it was complete at the first poll.
            winner.mark_polled();
            this.winner = Some(winner);
            let reason = || Some("another promise was first".into());
            for loser in this.promises.drain(..) {
                this.losers.push(loser.cancel_at(this.at, reason()));
            }
        }
        while let Some(loser) = this.losers.last_mut() {
            ready!(loser.poll_end(cx));
            // If a loser has ended already, its outcome is dropped; `await_one` keeps it.
            this.losers.pop();
        }
        let winner = this.winner.take().expect("it is kept until the losers are gone");
        Poll::Ready(winner.into_outcome_here())
    }
}

impl<T, E> Unpin for AwaitFirst<T, E> {}

impl<T, E> fmt::Debug for AwaitFirst<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitFirst")
            .field("waiting", &self.promises.len())
            .field("losers", &self.losers.len())
            .finish_non_exhaustive()
    }
}

/// Waits for one of the children to complete, removes its promise and returns its outcome. The
/// others go on.
///
/// If several children are complete, the run's seed decides which one is removed. Each call polls
/// all promises; to wait for many children one after the other, use [`Orphans`](crate::Orphans).
///
/// # Panics
///
/// If the future is polled while there is no promise.
///
/// # Cancel safety
///
/// Dropping the future loses nothing: the promises stay in the vector.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, await_one, run, spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let slow = spawn(async { yield_now().await; yield_now().await; "slow" });
///     let mut promises = vec![slow, spawn(async { "quick" })];
///     assert_eq!(await_one(&mut promises).await?, "quick");
///     assert_eq!(await_one(&mut promises).await?, "slow");
///     assert!(promises.is_empty());
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select_all")]
#[track_caller]
pub fn await_one<T, E>(promises: &mut Vec<Promise<T, E>>) -> AwaitOne<'_, T, E> {
    AwaitOne { promises, at: Location::caller() }
}

/// The future of [`await_one`].
#[must_use = "futures do nothing unless polled"]
pub struct AwaitOne<'a, T, E = Infallible> {
    promises: &'a mut Vec<Promise<T, E>>,
    at: &'static Location<'static>,
}

impl<T, E> Future for AwaitOne<'_, T, E> {
    type Output = Outcome<T, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let AwaitOne { promises, at } = self.get_mut();
        assert!(!promises.is_empty(), "`await_one` needs a promise to wait for");
        let first = ready!(poll_any(promises, WaitSite::new("one of several promises", at), cx));
        Poll::Ready(promises.remove(first).into_outcome_here())
    }
}

impl<T, E> fmt::Debug for AwaitOne<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitOne").field("waiting", &self.promises.len()).finish()
    }
}

/// Returns the index of a complete child, or registers with all children.
#[track_caller]
fn poll_any<T, E>(
    promises: &mut [Promise<T, E>],
    site: WaitSite,
    cx: &mut Context<'_>,
) -> Poll<usize> {
    let complete = || (0..promises.len()).filter(|&index| promises[index].is_complete());
    let count = complete().count();
    let draw = |domain: &Domain| if count > 1 { domain.random().below(count) } else { 0 };
    let drawn = Domain::try_with(draw).unwrap_or(0);
    if let Some(index) = complete().nth(drawn) {
        ready!(promises[index].poll_end(site, cx));
        return Poll::Ready(index);
    }
    for promise in promises.iter_mut() {
        let pending = promise.poll_end(site, cx).is_pending();
        debug_assert!(pending, "no child was complete");
    }
    // Each promise has recorded only itself.
    BlockedOn::new(site, WaitTarget::AnyPromise).note();
    Poll::Pending
}
