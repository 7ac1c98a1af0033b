//! What few tasks have: a shield, a deadline, somebody who listens for a cancellation.

use std::panic::Location;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::cancelled::{Actor, Cancelled, Reason, Why};
use super::id::TaskId;
use crate::time::TimerKey;

/// The part of a node that most tasks do without.
#[derive(Default)]
pub(crate) struct Rare {
    /// The task is a shield.
    pub(crate) shielding: Option<Shielding>,
    /// The end of this task was asked for, but it, or an ancestor, is shielded.
    pub(crate) asked: Option<Cancelled>,
    /// Who wants to know when that happens.
    pub(crate) listeners: Vec<Waker>,
    /// The deadline that the task was born with.
    pub(crate) deadline: Option<Limit>,
    /// When the task is cancelled if it has not ended: at its deadline, or when its shield is over.
    pub(crate) end_by: Option<(Instant, Cancelled)>,
    /// The timer for that.
    pub(crate) timer: Option<TimerKey>,
}

/// A task that is not ended with its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shielding {
    /// How long it may go on when its end was asked for.
    pub(crate) limit: Duration,
    /// Whether that was so.
    pub(crate) asked: bool,
}

/// A deadline, and who set it, at which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    pub(crate) set_by: TaskId,
    pub(crate) set_at: &'static Location<'static>,
}

impl Limit {
    /// The one that comes first.
    pub(crate) fn least(self, other: Option<Limit>) -> Limit {
        other.filter(|other| other.at <= self.at).unwrap_or(self)
    }

    fn cancelled(self) -> Cancelled {
        // Only the number: a deadline is copied to each child, and a name would have to be counted.
        let by = (self.set_by != TaskId::NOBODY).then_some(Actor { id: self.set_by, name: None });
        Cancelled::new(Reason { by, at: Some(self.set_at), ..Reason::new(Why::Deadline) })
    }
}

impl Rare {
    /// What a child is born with, if that is anything: its parent's deadline, and the knowledge
    /// that its end was asked for.
    pub(crate) fn inherited(
        deadline: Option<Limit>,
        asked: Option<Cancelled>,
    ) -> Option<Box<Rare>> {
        if deadline.is_none() && asked.is_none() {
            return None;
        }
        let end_by = deadline.map(|limit| (limit.at, limit.cancelled()));
        Some(Box::new(Rare { asked, deadline, end_by, ..Rare::default() }))
    }
}
