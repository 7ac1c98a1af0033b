//! The futures and the stream of the outcomes of a group.

use std::convert::Infallible;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::orphans::{Orphans, WhenEmpty};
use crate::outcome::Outcome;
use crate::waker_set::WakerKey;

/// The future of [`Orphans::next`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Next<'a, T, E = Infallible>(pub(super) NextOutcome<'a, T, E>);

impl<T, E> Future for Next<'_, T, E> {
    type Output = Option<Outcome<T, E>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll(WhenEmpty::ReturnNone, cx)
    }
}

/// The future of [`Orphans::next_or_pending`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct NextOrPending<'a, T, E = Infallible>(pub(super) NextOutcome<'a, T, E>);

impl<T, E> Future for NextOrPending<'_, T, E> {
    type Output = Outcome<T, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.get_mut().0.poll(WhenEmpty::StayPending, cx);
        outcome.map(|outcome| outcome.expect("it waits for one"))
    }
}

/// A wait for the next outcome of a group, which leaves no waker behind.
#[derive(Debug)]
pub(super) struct NextOutcome<'a, T, E> {
    orphans: &'a Orphans<T, E>,
    at: &'static Location<'static>,
    key: WakerKey,
}

impl<'a, T, E> NextOutcome<'a, T, E> {
    pub(super) fn new(orphans: &'a Orphans<T, E>, at: &'static Location<'static>) -> Self {
        NextOutcome { orphans, at, key: WakerKey::new() }
    }

    #[track_caller]
    fn poll(&mut self, when_empty: WhenEmpty, cx: &mut Context<'_>) -> Poll<Option<Outcome<T, E>>> {
        self.orphans.poll_outcome(&mut self.key, self.at, when_empty, cx)
    }
}

impl<T, E> Drop for NextOutcome<'_, T, E> {
    fn drop(&mut self) {
        self.orphans.cancel_wait(&mut self.key);
    }
}

/// The outcomes in the order of completion. The stream ends when the group is empty; it goes on
/// when another child was spawned.
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
/// use matou_runtime::{Orphans, RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let group = Orphans::new();
///     for n in 1..=3 {
///         group.spawn(async move { n });
///     }
///     let sum = group.fold(0, async |sum, outcome| sum + outcome.unwrap_or(0));
///     assert_eq!(sum.await, 6);
///     Ok(())
/// })
/// # }
/// ```
impl<T, E> Stream for Orphans<T, E> {
    type Item = Outcome<T, E>;

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // The registration stays with the group, whose state is dropped with it.
        let mut key = std::mem::take(&mut this.stream_waiter);
        let poll = this.poll_outcome(&mut key, Location::caller(), WhenEmpty::ReturnNone, cx);
        this.stream_waiter = key;
        poll
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), None)
    }
}
