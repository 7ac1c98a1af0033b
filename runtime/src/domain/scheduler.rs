//! Which task runs, which ones run next, and how many operations a running task may begin.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use matou_hooks::{Current, TaskKey};

use super::run_queue::{Next, RunQueue};
use super::{Node, RemoteHandle};
use crate::random::Random;
use crate::task::raw::WakerId;
use crate::task::{NIL, Slot};

/// How many leaf operations a task may complete in one poll before it has to yield.
const BUDGET: u16 = 128;

/// The run queue of a domain and the task that it is polling.
pub(super) struct Scheduler {
    run_queue: RefCell<RunQueue>,
    /// The task that is being polled; `NIL` between polls.
    current: Cell<Slot>,
    /// The identity of the current task's waker, to recognize `cx.waker()` without cloning it.
    current_waker: Cell<WakerId>,
    /// How the current task is polled.
    poll_kind: Cell<PollKind>,
}

/// How a task is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollKind {
    Usual,
    /// With a waker that counts its clones; see [`task::probe`](crate::task::probe).
    Probe,
    /// The task had been cancelled when its poll began.
    Cancelled,
}

impl Scheduler {
    pub(super) fn new(run_queue: RunQueue) -> Scheduler {
        Scheduler {
            run_queue: RefCell::new(run_queue),
            current: Cell::new(NIL),
            current_waker: Cell::new(WakerId::NONE),
            poll_kind: Cell::new(PollKind::Usual),
        }
    }

    /// Returns the task that is being polled; `NIL` between polls.
    #[inline]
    pub(super) fn current(&self) -> Slot {
        self.current.get()
    }

    /// Returns how the current task is polled.
    #[inline]
    pub(super) fn poll_kind(&self) -> PollKind {
        self.poll_kind.get()
    }

    /// Returns whether `waker` is the own waker of the current task.
    #[inline]
    pub(super) fn is_current_waker(&self, waker: &Waker) -> bool {
        self.current_waker.get().belongs_to::<RemoteHandle>(waker)
    }

    /// Makes a task the current one and gives it a full budget.
    #[inline]
    pub(super) fn begin_poll(
        &self,
        slot: Slot,
        task: Option<TaskKey>,
        waker: WakerId,
        kind: PollKind,
    ) {
        matou_hooks::replace_current(Current::new(task, BUDGET));
        self.current.set(slot);
        self.current_waker.set(waker);
        self.poll_kind.set(kind);
    }

    #[inline]
    pub(super) fn end_poll(&self) {
        matou_hooks::leave_task();
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

    /// Returns whether the run queue contains two tasks or more.
    #[inline]
    pub(super) fn has_several_ready(&self) -> bool {
        self.run_queue.borrow().has_several()
    }

    /// Begins the polls of a tick.
    #[inline]
    pub(super) fn begin_tick(&self) {
        self.run_queue.borrow_mut().begin_tick();
    }

    /// At the end of a tick: takes a yielded task if the tick has polled none.
    #[inline]
    pub(super) fn pop_starved_yielded(&self) -> Option<Slot> {
        self.run_queue.borrow_mut().pop_starved_yielded()
    }
}
