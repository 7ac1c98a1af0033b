//! The task that each thread polls, and its budget. A runtime writes them, primitives read them
//! without a call.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::data::{Offer, OfferSource, TaskKey};

/// The budget of code that is no task.
const UNLIMITED: i32 = i32::MAX;
/// How often a task may be refused before it gets a new budget. Code that polls in a loop until it
/// is ready, such as a `block_on` inside a task, does not yield.
const REFUSALS_MAX: i32 = 128;

/// The task that a thread polls, and its budget. A runtime enters it by [`replace_current`] at the
/// beginning of each poll.
///
/// # Examples
///
/// ```
/// use matou_hooks::{Current, TaskKey, current_task, replace_current};
///
/// let task = TaskKey::from_parts(1, 7);
/// let before = replace_current(Current::new(task, 128));
/// assert_eq!(current_task(), task); // the runtime polls the task here
/// replace_current(before);
/// assert_eq!(current_task(), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Current {
    task: Option<TaskKey>,
    budget: Budget,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    /// How many operations the task may begin in this poll; negative for each that was refused.
    left: i32,
    /// How many it may begin in a poll.
    limit: i32,
}

impl Current {
    /// No task.
    pub const NONE: Current =
        Current { task: None, budget: Budget { left: UNLIMITED, limit: UNLIMITED } };

    /// A task that may begin `budget` operations before it has to yield.
    ///
    /// `task` is `None` if the runtime is not the [host](crate::Host) of the process.
    #[inline]
    pub const fn new(task: Option<TaskKey>, budget: u16) -> Current {
        let budget = budget as i32;
        Current { task, budget: Budget { left: budget, limit: budget } }
    }
}

struct Cells {
    task: Cell<Option<TaskKey>>,
    budget: Cell<Budget>,
    /// The address of the source, and the key, of the offer that was closed last in this poll. Zero
    /// if none was: the address of an old source may be used again.
    closed_source: Cell<usize>,
    closed_key: Cell<u64>,
}

// It has no destructor, so that the accesses cannot fail and need no registration.
thread_local! {
    static CURRENT: Cells = const {
        Cells {
            task: Cell::new(Current::NONE.task),
            budget: Cell::new(Current::NONE.budget),
            closed_source: Cell::new(0),
            closed_key: Cell::new(0),
        }
    };
}

/// Enters the task that the current thread polls from now on, and returns the previous one.
///
/// For runtimes; see [`Current`]. A runtime whose polls are not nested puts the previous one back
/// when its loop ends, and calls [`leave_task`] after each poll.
///
/// # Examples
///
/// ```
/// use matou_hooks::{Current, replace_current};
///
/// let before = replace_current(Current::new(None, 1));
/// let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// assert_eq!([(); 2].map(|()| matou_hooks::poll_budget(&mut cx).is_ready()), [true, false]);
/// replace_current(before);
/// ```
#[inline]
pub fn replace_current(current: Current) -> Current {
    CURRENT.with(|cells| {
        // fault: closed-offers-remembered
        cells.closed_source.set(0);
        Current {
            task: cells.task.replace(current.task),
            budget: cells.budget.replace(current.budget),
        }
    })
}

/// The current thread does not poll the task any more. The rest of its budget stays.
///
/// For runtimes, between two polls.
///
/// # Examples
///
/// ```
/// use matou_hooks::{Current, TaskKey, current_task, leave_task, replace_current};
///
/// let before = replace_current(Current::new(TaskKey::from_parts(1, 7), 128));
/// leave_task();
/// assert_eq!(current_task(), None);
/// replace_current(before);
/// ```
#[inline]
pub fn leave_task() {
    CURRENT.with(|cells| cells.task.set(None));
}

/// Returns the task that the current thread is polling; `None` outside the tasks of the host.
///
/// # Examples
///
/// ```
/// assert_eq!(matou_hooks::current_task(), None);
/// ```
#[inline]
pub fn current_task() -> Option<TaskKey> {
    CURRENT.with(|cells| cells.task.get())
}

/// Consumes a part of the current task's budget.
///
/// `Pending` means that the task has done enough for one poll: it is woken already, and the caller
/// returns `Pending` without having begun its operation. A task that is polled again has a new
/// budget. (So has code that is refused 128 times in one poll, because it does not yield.)
///
/// # Examples
///
/// ```
/// use std::task::{Context, Poll, Waker, ready};
///
/// fn poll_something(cx: &mut Context<'_>) -> Poll<u32> {
///     ready!(matou_hooks::poll_budget(cx));
///     Poll::Ready(5)
/// }
///
/// assert_eq!(poll_something(&mut Context::from_waker(Waker::noop())), Poll::Ready(5));
/// ```
#[doc(alias = "coop")]
#[doc(alias = "poll_proceed")]
#[inline]
pub fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    let budget = CURRENT.with(|cells| {
        let Budget { left, limit } = cells.budget.get();
        let budget = Budget { left: left - 1, limit };
        cells.budget.set(budget);
        budget
    });
    if budget.left >= 0 { Poll::Ready(()) } else { refuse(budget, cx) }
}

#[cold]
fn refuse(Budget { left, limit }: Budget, cx: &mut Context<'_>) -> Poll<()> {
    // fault: budget-block-on-spins
    if left < -REFUSALS_MAX || limit == UNLIMITED {
        CURRENT.with(|cells| cells.budget.set(Budget { left: limit - 1, limit }));
        return Poll::Ready(());
    }
    // fault: budget-unlimited
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// [`poll_budget`] and, if it is ready, [`current_task`] in one call.
///
/// # Examples
///
/// ```
/// use std::task::{Context, Poll, Waker};
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(matou_hooks::begin_operation(&mut cx), Poll::Ready(None));
/// ```
#[inline]
pub fn begin_operation(cx: &mut Context<'_>) -> Poll<Option<TaskKey>> {
    ready!(poll_budget(cx));
    Poll::Ready(current_task())
}

impl Offer {
    /// Returns whether this is the last offer that was [closed](crate::close_offer) in the current
    /// poll.
    ///
    /// For hosts: it is cheaper than [`OfferSource::decline`], and in most polls of a task that has
    /// an offer it is the answer.
    #[inline]
    pub fn was_just_closed(&self) -> bool {
        let closed = CURRENT.with(|cells| (cells.closed_source.get(), cells.closed_key.get()));
        closed == (source_address(&self.source), self.key)
    }
}

/// Records that a waiter to which the offer `key` of `source` was made has been polled or dropped,
/// so that the offer is not open any more.
///
/// It may be left out. Then the host finds out by [`OfferSource::decline`].
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use std::sync::Arc;
/// use matou_hooks::{Offer, OfferSource, TaskKey, close_offer};
///
/// struct Closed;
/// impl OfferSource for Closed {
///     fn is_open(&self, _: u64) -> bool {
///         false
///     }
///     fn decline(&self, _: u64) -> bool {
///         false
///     }
/// }
///
/// let (source, task) = (Arc::new(Closed), TaskKey::from_parts(1, 7).unwrap());
/// let offer = Offer::new(task, "lock", Location::caller(), 3, source.clone());
/// close_offer(&source, 3);
/// assert!(offer.was_just_closed());
/// ```
#[inline]
pub fn close_offer<S: OfferSource + ?Sized>(source: &Arc<S>, key: u64) {
    CURRENT.with(|cells| {
        cells.closed_source.set(source_address(source));
        cells.closed_key.set(key);
    });
}

/// A source lives as long as its offers, so that its address identifies it among them.
#[inline]
fn source_address<S: ?Sized>(source: &Arc<S>) -> usize {
    Arc::as_ptr(source).cast::<()>().addr()
}
