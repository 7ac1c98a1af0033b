use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use crate::error::polled_after_completion;
use crate::locks::lock;
use crate::primitives::{Mutex, const_fn};
use crate::waiting::{Kind, Notify, Request, Waiting};

/// A point at which a number of tasks wait for each other. It can be used any number of times.
///
/// A task that gives up its wait is not counted any more, unless all tasks have arrived already.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::Barrier;
///
/// let barrier = Barrier::new(2);
/// let (one, other) = block_on(async { join!(barrier.wait(), barrier.wait()) });
/// assert!(one.is_leader() != other.is_leader());
/// ```
pub struct Barrier {
    size: usize,
    state: Mutex<State>,
    arrivals: Notify,
}

#[derive(Debug)]
struct State {
    /// How many tasks wait in the present round.
    arrived: usize,
    /// The number of the round. It wraps around after more rounds than a waiter can sleep through.
    round: usize,
}

impl Barrier {
    const_fn! {
        /// Creates a barrier for `size` tasks. With zero or one, no task waits.
        ///
        /// # Examples
        ///
        /// ```
        /// static START: matou_sync::Barrier = matou_sync::Barrier::new(1);
        /// assert!(futures::executor::block_on(START.wait()).is_leader());
        /// ```
        pub fn new(size: usize) -> Self {
            let state = Mutex::new(State { arrived: 0, round: 0 });
            Self { size, state, arrivals: Notify::new(Kind::Barrier) }
        }
    }

    /// Waits until as many tasks wait as the barrier is for. The task counts from the first poll
    /// on.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before all tasks have arrived, its task is not counted any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{executor::block_on, future::join_all};
    ///
    /// let barrier = matou_sync::Barrier::new(3);
    /// let results = block_on(join_all((0..3).map(|_| barrier.wait())));
    /// assert_eq!(results.iter().filter(|result| result.is_leader()).count(), 1);
    /// ```
    #[track_caller]
    pub fn wait(&self) -> BarrierWait<'_> {
        BarrierWait {
            barrier: Some(self),
            waiting: Waiting::new(&self.arrivals),
            round: None,
            called_at: Location::caller(),
        }
    }

    /// Counts a task. Returns the round in which it waits, or `None` if it is the last one.
    fn arrive(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        if state.arrived + 1 >= self.size {
            state.arrived = 0;
            state.round = state.round.wrapping_add(1);
            return None;
        }
        state.arrived += 1;
        Some(state.round)
    }

    /// Takes back the arrival of a task that gives up.
    fn leave(&self, round: usize) {
        let mut state = lock(&self.state);
        // fault: barrier-counts-cancelled-waiter
        if state.round == round {
            state.arrived -= 1;
        }
    }

    fn is_over(&self, round: usize) -> bool {
        lock(&self.state).round != round
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = lock(&self.state).arrived;
        f.debug_struct("Barrier")
            .field("size", &self.size)
            .field("arrived", &arrived)
            .finish_non_exhaustive()
    }
}

/// The result of [`Barrier::wait`].
///
/// # Examples
///
/// ```
/// let result = futures::executor::block_on(matou_sync::Barrier::new(1).wait());
/// assert!(result.is_leader());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Returns `true` for the task that arrived last.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{executor::block_on, join};
    ///
    /// let barrier = matou_sync::Barrier::new(2);
    /// let (first, last) = block_on(async { join!(barrier.wait(), barrier.wait()) });
    /// assert!(!first.is_leader() && last.is_leader());
    /// ```
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The future of [`Barrier::wait`].
///
/// # Cancel safety
///
/// If it is dropped before all tasks have arrived, its task is not counted any more.
///
/// # Examples
///
/// ```
/// use matou_sync::{Barrier, futures::BarrierWait};
///
/// let barrier = Barrier::new(1);
/// let wait: BarrierWait<'_> = barrier.wait();
/// assert!(futures::executor::block_on(wait).is_leader());
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct BarrierWait<'a> {
    /// `None` once the future has completed.
    barrier: Option<&'a Barrier>,
    waiting: Waiting<'a>,
    /// `None` before the first poll.
    round: Option<usize>,
    called_at: &'static Location<'static>,
}

impl Future for BarrierWait<'_> {
    type Output = BarrierWaitResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(barrier) = this.barrier else {
            polled_after_completion("`BarrierWait`", this.called_at)
        };
        let (task, round) = match this.round {
            Some(round) => (matou_hooks::current_task(), round),
            None => {
                let task = ready!(matou_hooks::begin_operation(cx));
                let Some(round) = barrier.arrive() else {
                    this.barrier = None;
                    // fault: barrier-wakes-no-waiter
                    barrier.arrivals.notify_all();
                    return Poll::Ready(BarrierWaitResult { is_leader: true });
                };
                this.round = Some(round);
                (task, round)
            }
        };
        let request = Request { task, at: this.called_at, data: 0 };
        let is_over = |_| barrier.is_over(round).then_some(());
        if this.waiting.poll(cx, request, is_over).is_pending() {
            let target = Target::new("barrier", (&raw const *barrier).addr());
            matou_hooks::on_wait(&Wait::new("barrier", this.called_at).on(target), cx);
            return Poll::Pending;
        }
        this.barrier = None;
        Poll::Ready(BarrierWaitResult { is_leader: false })
    }
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        if let (Some(barrier), Some(round)) = (self.barrier, self.round) {
            barrier.leave(round);
        }
    }
}

impl fmt::Debug for BarrierWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWait")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.waiting.is_waiting())
            .finish_non_exhaustive()
    }
}
