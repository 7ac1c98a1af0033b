//! What few tasks have: a shield, a deadline, somebody who listens for a cancellation.

use std::panic::Location;
use std::time::{Duration, Instant};

use super::cancel_reason::{CancelKind, CancelReason, Cancelled, TaskRef};
use super::id::TaskId;
use crate::timer_queue::TimerKey;
use crate::waker_set::WakerSet;

/// The part of a node that most tasks do without.
#[derive(Default)]
pub(crate) struct ColdState {
    /// The task is a shield.
    pub(crate) shield: Option<ShieldState>,
    /// The end of this task was asked for, but it, or an ancestor, is shielded.
    pub(crate) cancel_requested: Option<Cancelled>,
    /// Who wants to know when that happens.
    pub(crate) cancel_waiters: WakerSet,
    /// The deadline that the task was born with.
    pub(crate) deadline: Option<TaskDeadline>,
    /// When the task is cancelled if it has not ended: at its deadline, or when its shield is over.
    pub(crate) cancel_at: Option<(Instant, Cancelled)>,
    /// The timer for that.
    pub(crate) timer: Option<TimerKey>,
}

/// A task that is not ended with its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShieldState {
    /// How long it may go on when its end was asked for.
    pub(crate) limit: Duration,
    /// Whether that was so.
    pub(crate) cancel_requested: bool,
}

/// A deadline, and who set it, at which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskDeadline {
    pub(crate) at: Instant,
    pub(crate) set_by: TaskId,
    pub(crate) set_at: &'static Location<'static>,
}

impl TaskDeadline {
    /// The one that comes first.
    pub(crate) fn earlier(self, other: Option<TaskDeadline>) -> TaskDeadline {
        other.filter(|other| other.at <= self.at).unwrap_or(self)
    }

    fn cancelled(self) -> Cancelled {
        // Only the number: a deadline is copied to each child, and a name would have to be counted.
        let by = (self.set_by != TaskId::NONE).then_some(TaskRef { id: self.set_by, name: None });
        Cancelled::new(CancelReason {
            by,
            location: Some(self.set_at),
            ..CancelReason::new(CancelKind::Deadline)
        })
    }
}

impl ColdState {
    /// What a child is born with, if that is anything: its parent's deadline, and the knowledge
    /// that its end was asked for.
    pub(crate) fn for_child(
        deadline: Option<TaskDeadline>,
        cancel_requested: Option<Cancelled>,
    ) -> Option<Box<ColdState>> {
        if deadline.is_none() && cancel_requested.is_none() {
            return None;
        }
        let cancel_at = deadline.map(|limit| (limit.at, limit.cancelled()));
        Some(Box::new(ColdState { cancel_requested, deadline, cancel_at, ..ColdState::default() }))
    }
}
