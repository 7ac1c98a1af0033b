//! Which task runs, which ones run next, and how much a running task may do.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::run_queue::{Next, RunQueue};
use super::time_slice::TimeSlice;
use super::{Node, RemoteHandle};
use crate::random::Random;
use crate::task::raw::WakerId;
use crate::task::{NIL, Slot};

/// How many leaf operations a task may complete in one poll before it has to yield.
const BUDGET: i32 = 128;
/// How often it may then be refused before it gets a new budget. Code that polls in a loop until it
/// is ready, such as a `block_on` inside a task, does not yield.
const REFUSALS_MAX: i32 = 128;

/// The run queue of a domain and the task that it is polling.
pub(super) struct Scheduler {
    run_queue: RefCell<RunQueue>,
    time_slice: TimeSlice,
    /// The task that is being polled; `NIL` between polls.
    current: Cell<Slot>,
    /// The identity of the current task's waker, to recognize `cx.waker()` without cloning it.
    current_waker: Cell<WakerId>,
    /// Whether the current task had been cancelled when its poll began.
    current_cancelled: Cell<bool>,
    /// The rest of the current task's budget; negative for each operation that was refused.
    budget: Cell<i32>,
}

impl Scheduler {
    pub(super) fn new(run_queue: RunQueue) -> Scheduler {
        Scheduler {
            run_queue: RefCell::new(run_queue),
            time_slice: TimeSlice::default(),
            current: Cell::new(NIL),
            current_waker: Cell::new(WakerId::NONE),
            current_cancelled: Cell::new(false),
            budget: Cell::new(BUDGET),
        }
    }

    /// Returns the task that is being polled; `NIL` between polls.
    #[inline]
    pub(super) fn current(&self) -> Slot {
        self.current.get()
    }

    /// Returns whether the current task had been cancelled when its poll began.
    #[inline]
    pub(super) fn current_cancelled(&self) -> bool {
        self.current_cancelled.get()
    }

    /// Returns whether `waker` is the own waker of the current task.
    #[inline]
    pub(super) fn is_current_waker(&self, waker: &Waker) -> bool {
        self.current_waker.get().belongs_to::<RemoteHandle>(waker)
    }

    /// Makes a task the current one and gives it a full budget.
    #[inline]
    pub(super) fn begin_poll(&self, slot: Slot, waker: WakerId, cancelled: bool) {
        self.current.set(slot);
        self.current_waker.set(waker);
        self.current_cancelled.set(cancelled);
        self.budget.set(BUDGET);
    }

    #[inline]
    pub(super) fn end_poll(&self) {
        self.current.set(NIL);
        self.current_waker.set(WakerId::NONE);
    }

    /// Wakes a task: puts it into the run queue unless it is there, is being polled, or is
    /// complete.
    #[inline]
    pub(super) fn wake(&self, slot: Slot, node: &Node) {
        if node.wake() {
            self.enqueue(slot);
        }
    }

    /// Puts a task into the run queue. It must not be there yet.
    #[inline]
    pub(super) fn enqueue(&self, slot: Slot) {
        self.run_queue.borrow_mut().push(slot, self.current.get());
    }

    /// Returns whether the run queue contains a task.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        !self.run_queue.borrow().is_empty()
    }

    #[inline]
    pub(super) fn pop(&self, random: &Random) -> Option<Next> {
        self.run_queue.borrow_mut().pop(random)
    }

    /// Begins the polls of a tick. Returns the time if a time slice is to limit them.
    #[inline]
    pub(super) fn begin_tick(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.run_queue.borrow_mut().begin_tick();
        self.time_slice.begin(now)
    }

    /// Returns whether the time slice is used up after the `polls`th poll of a tick.
    #[inline]
    pub(super) fn is_preempted(
        &self,
        started: Option<Instant>,
        polls: usize,
        yielded: bool,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        self.time_slice.exhausted(started, polls, yielded, now)
    }

    /// At the end of a tick: takes a yielded task if the tick has polled none.
    #[inline]
    pub(super) fn pop_starved_yielded(&self) -> Option<Slot> {
        self.run_queue.borrow_mut().pop_starved_yielded()
    }

    /// Ends the polls of a tick that began at `started`.
    #[inline]
    pub(super) fn end_tick(&self, started: Option<Instant>, now: impl FnOnce() -> Instant) {
        if self.has_ready() {
            self.time_slice.end_preempted(started, now);
        } else {
            self.time_slice.end_drained();
        }
    }

    /// Takes one operation off the current task's budget. If none is left, the task is woken and
    /// has to yield.
    #[inline]
    pub(super) fn spend_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.budget.get() - 1;
        self.budget.set(left);
        if left >= 0 { Poll::Ready(()) } else { self.refuse(left, cx) }
    }

    #[cold]
    fn refuse(&self, left: i32, cx: &Context<'_>) -> Poll<()> {
        // fault: budget-block-on-spins
        if left < -REFUSALS_MAX {
            self.budget.set(BUDGET - 1);
            return Poll::Ready(());
        }
        // fault: budget-unlimited
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
