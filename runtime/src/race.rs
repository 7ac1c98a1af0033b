//! Polling several futures in the current task until one of them completes.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::Domain;
use crate::either::Either;
use crate::panics::polled_after_completion;

/// Polls two futures in the current task until one of them completes, and drops the other one.
///
/// Dropping the loser cancels the promises that it holds. This is no violation; the task does not
/// complete before those children have completed. The run's seed decides which future is polled
/// first, and so which one wins if both are ready. To race children, use
/// [`await_first`](crate::await_first), which also waits until the losers have completed. For
/// futures with unlike outputs there is [`race_either`], for any number of them [`race_all`], and
/// for patterns and handlers [`select!`](crate::select!).
///
/// # Cancel safety
///
/// As cancel safe as both futures.
///
/// # Panics
///
/// The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, race, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     assert_eq!(race(pending(), async { 7 }).await, 7);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select")]
#[doc(alias = "or")]
#[track_caller]
pub fn race<A, B>(left: A, right: B) -> Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    Race { branches: race_either(left, right) }
}

pin_project! {
    /// The future of [`race`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Race<A, B> {
        #[pin]
        branches: RaceEither<A, B>,
    }
}

impl<A, B> Future for Race<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        self.project().branches.poll(cx).map(Either::into_inner)
    }
}

/// Polls two futures with unlike outputs in the current task until one of them completes, and drops
/// the other one. See [`race`].
///
/// # Cancel safety
///
/// As cancel safe as both futures.
///
/// # Panics
///
/// The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{Either, RunError, race_either, run, sleep};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     match race_either(async { 7 }, sleep(Duration::from_secs(60))).await {
///         Either::Left(number) => assert_eq!(number, 7),
///         Either::Right(()) => panic!("one minute has elapsed"),
///     }
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select")]
#[track_caller]
pub fn race_either<A: Future, B: Future>(left: A, right: B) -> RaceEither<A, B> {
    RaceEither { left: Some(left), right: Some(right), location: Location::caller() }
}

pin_project! {
    /// The future of [`race_either`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct RaceEither<A, B> {
        // Both are None after one of them has completed.
        #[pin]
        left: Option<A>,
        #[pin]
        right: Option<B>,
        location: &'static Location<'static>,
    }
}

impl<A: Future, B: Future> Future for RaceEither<A, B> {
    type Output = Either<A::Output, B::Output>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.left.is_none() {
            polled_after_completion("`Race`", this.location);
        }
        let left_first = Domain::try_with(|domain| domain.random().below(2) == 0).unwrap_or(true);
        let mut poll_one = |left: bool| {
            if left {
                let left = this.left.as_mut().as_pin_mut();
                left.expect("both branches are there").poll(cx).map(Either::Left)
            } else {
                let right = this.right.as_mut().as_pin_mut();
                right.expect("both branches are there").poll(cx).map(Either::Right)
            }
        };
        let mut poll = poll_one(left_first);
        if poll.is_pending() {
            poll = poll_one(!left_first);
        }
        if poll.is_ready() {
            Domain::abandon_branch(this.location, || {
                this.left.set(None);
                this.right.set(None);
            });
        }
        poll
    }
}

/// Polls any number of futures in the current task until one of them completes, and drops the
/// others. See [`race`].
///
/// The futures have one type; [`select!`](crate::select!) takes futures of different types. The
/// run's seed decides which one is polled first. Each wake-up polls all of them: for many children,
/// use [`await_first`](crate::await_first) or [`Orphans`](crate::Orphans).
///
/// # Cancel safety
///
/// As cancel safe as all of the futures.
///
/// # Panics
///
/// If there is no future, and if the future is polled after it completed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{RunError, race_all, run, sleep};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let delays = [60_000, 1, 50_000];
///     let first = race_all(delays.map(|delay| async move {
///         sleep(Duration::from_millis(delay)).await;
///         delay
///     }));
///     assert_eq!(first.await, 1);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "select_all")]
#[track_caller]
pub fn race_all<F: Future>(futures: impl IntoIterator<Item = F>) -> RaceAll<F> {
    let futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    assert!(!futures.is_empty(), "`race_all` needs a future to wait for");
    RaceAll { futures, location: Location::caller() }
}

/// The future of [`race_all`].
#[must_use = "futures do nothing unless polled"]
pub struct RaceAll<F> {
    /// Empty after one of them has completed.
    futures: Vec<Pin<Box<F>>>,
    location: &'static Location<'static>,
}

impl<F: Future> RaceAll<F> {
    /// Polls the futures, beginning with a random one.
    #[track_caller]
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let count = self.futures.len();
        if count == 0 {
            polled_after_completion("`RaceAll`", self.location);
        }
        let first = Domain::try_with(|domain| domain.random().below(count)).unwrap_or(0);
        for index in (first..count).chain(0..first) {
            if let Poll::Ready(output) = self.futures[index].as_mut().poll(cx) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }
}

impl<F: Future> Future for RaceAll<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let output = ready!(this.poll_all(cx));
        Domain::abandon_branch(this.location, || this.futures.clear());
        Poll::Ready(output)
    }
}

impl<F> fmt::Debug for RaceAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let futures = self.futures.len();
        f.debug_struct("RaceAll").field("futures", &futures).finish_non_exhaustive()
    }
}
