//! The state that few tasks need: a shield, a deadline, futures that wait for a cancel request.

use std::collections::VecDeque;
use std::panic::Location;
use std::time::{Duration, Instant};

use matou_hooks::Offer;

use super::cancel_reason::{CancelKind, CancelReason, Cancelled, TaskRef};
use super::id::TaskId;
use super::locals::Locals;
use super::probe::Suspicion;
use crate::timer_queue::TimerKey;
use crate::waker_set::WakerSet;

/// The rarely used part of a node. It is allocated when a task first needs it.
#[derive(Default)]
pub(crate) struct ColdState {
    /// Set if the task is a shield.
    pub(crate) shield: Option<ShieldState>,
    /// The first cancel request from which the task is shielded: it is a shield, or has one among
    /// its ancestors.
    pub(crate) cancel_requested: Option<Cancelled>,
    /// The wakers of futures that wait for such a request.
    pub(crate) cancel_waiters: WakerSet,
    /// The deadline that the task inherited from its parent.
    pub(crate) deadline: Option<TaskDeadline>,
    /// The task-local values: those that the task has inherited, and those of the scopes that are
    /// being polled.
    pub(crate) locals: Option<Locals>,
    /// The number of daemons among its children; 0 once they are cancelled.
    pub(crate) daemons: u32,
    /// When and why the task is cancelled if it has not returned before: at its deadline, or when
    /// the time limit of its shield is over.
    pub(crate) cancel_at: Option<TimeLimit>,
    /// The timer for `cancel_at`, once it is set.
    pub(crate) timer: Option<TimerKey>,
    /// Set if the task has returned and waits for the messages that were sent before (R1): whether
    /// they are handled.
    pub(crate) messages_handled: Option<bool>,
    /// The offers of synchronization primitives to the task.
    pub(crate) offers: Offers,
    /// Whether the task seems to wait in a circle.
    pub(crate) suspicion: Suspicion,
}

/// The offers that a task has received and that it may still take, oldest first (R13).
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// The oldest one. Mostly it is the only one, and then no queue is accessed.
    first: Option<Offer>,
    /// The others; none without a first one.
    others: VecDeque<Offer>,
    /// How many of them were received before the current poll, or the last one, began.
    seen: usize,
}

impl Offers {
    #[inline]
    pub(crate) fn push(&mut self, offer: Offer) {
        match self.first {
            None => self.first = Some(offer),
            Some(_) => self.others.push_back(offer),
        }
    }

    #[inline]
    fn begin_poll(&mut self) {
        self.seen = usize::from(self.first.is_some()) + self.others.len();
    }

    /// Takes the oldest offer that was received before the last poll.
    #[inline]
    pub(crate) fn pop_seen(&mut self) -> Option<Offer> {
        self.seen = self.seen.checked_sub(1)?;
        let oldest = self.first.take();
        if !self.others.is_empty() {
            self.first = self.others.pop_front();
        }
        oldest
    }

    /// Takes all offers.
    pub(crate) fn take_all(&mut self) -> VecDeque<Offer> {
        self.seen = 0;
        let mut all = std::mem::take(&mut self.others);
        if let Some(first) = self.first.take() {
            all.push_front(first);
        }
        all
    }
}

/// The state of a shield: a task that is not cancelled with its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShieldState {
    /// How long the task may go on after the first cancel request.
    pub(crate) limit: Duration,
    /// Whether there was a cancel request.
    pub(crate) cancel_requested: bool,
}

/// A deadline, with the task and the line that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskDeadline {
    pub(crate) at: Instant,
    pub(crate) set_by: TaskId,
    pub(crate) set_at: &'static Location<'static>,
}

impl TaskDeadline {
    /// Returns the earlier one of two deadlines.
    pub(crate) fn earlier(self, other: Option<TaskDeadline>) -> TaskDeadline {
        other.filter(|other| other.at <= self.at).unwrap_or(self)
    }

    /// Returns the cancellation of a task that has missed the deadline.
    fn cancelled(self) -> Cancelled {
        // Without the name: a deadline is copied to each child, which would have to count
        // references to the name.
        let by = (self.set_by != TaskId::NONE).then_some(TaskRef { id: self.set_by, name: None });
        Cancelled::new(CancelReason {
            by,
            location: Some(self.set_at),
            ..CancelReason::new(CancelKind::Deadline)
        })
    }
}

/// When a task is cancelled if it has not returned before.
#[derive(Debug)]
pub(crate) enum TimeLimit {
    /// Few tasks miss their deadline, so the reason is allocated only then.
    Deadline(TaskDeadline),
    /// The end of the time of a shield, and the request from which it was shielded.
    Shield(Instant, Cancelled),
}

impl TimeLimit {
    #[inline]
    pub(crate) fn at(&self) -> Instant {
        match self {
            TimeLimit::Deadline(deadline) => deadline.at,
            TimeLimit::Shield(at, _) => *at,
        }
    }

    /// Returns the cancellation of the task.
    pub(crate) fn into_cancelled(self) -> Cancelled {
        match self {
            TimeLimit::Deadline(deadline) => deadline.cancelled(),
            TimeLimit::Shield(_, cancelled) => cancelled,
        }
    }
}

impl ColdState {
    /// Begins a poll of the task. Returns whether more has to be done for it than to note the
    /// offers.
    #[inline]
    pub(crate) fn begin_poll(&mut self) -> bool {
        self.offers.begin_poll();
        self.cancel_at.is_some() || self.deadline.is_some() || self.suspicion.is_examined()
    }

    /// Ends a poll of the task. Returns whether the timer for `cancel_at` must be set, and how many
    /// offers the poll had to take.
    #[inline]
    pub(crate) fn end_poll(&self) -> (bool, usize) {
        (self.cancel_at.is_some() && self.timer.is_none(), self.offers.seen)
    }

    /// Returns the initial state of a child: its parent's deadline, the cancel request from which
    /// its parent is shielded, and the parent's values. `None` if there are none of these.
    pub(crate) fn for_child(
        deadline: Option<TaskDeadline>,
        cancel_requested: Option<Cancelled>,
        locals: Option<Locals>,
    ) -> Option<Box<ColdState>> {
        if deadline.is_none() && cancel_requested.is_none() && locals.is_none() {
            return None;
        }
        let cancel_at = deadline.map(TimeLimit::Deadline);
        let cold = ColdState { cancel_requested, deadline, locals, cancel_at, ..Self::default() };
        Some(Box::new(cold))
    }
}
