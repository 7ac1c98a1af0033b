//! The text of a circle of waits.

use std::fmt;
use std::panic::Location;

use super::TaskInfo;
use crate::task::{BlockedOn, WaitTarget};

/// A task of a [`Finding::WaitCycle`](crate::Finding::WaitCycle).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CycleMember {
    /// The task.
    pub task: TaskInfo,
    /// The operation that it is blocked on; `None` if it terminates and waits for its children.
    pub blocked_on: Option<BlockedOn>,
    /// The line that acquired the lock it waits for, in the next task of the circle. Of a queue:
    /// the line with which that task used the other end first.
    pub held_since: Option<&'static Location<'static>>,
}

impl CycleMember {
    /// Returns the line that waits, or the line that spawned the task if that is not known.
    fn at(&self) -> &'static Location<'static> {
        let location = self.blocked_on.and_then(|blocked_on| blocked_on.site.location);
        location.unwrap_or(self.task.spawned_at)
    }
}

impl fmt::Display for CycleMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, spawned at {}: waits for ", self.task, self.task.spawned_at)?;
        match self.blocked_on {
            Some(blocked_on) => fmt::Display::fmt(&blocked_on, f)?,
            None => f.write_str("the end of its children")?,
        }
        let is_queue = |blocked_on: BlockedOn| matches!(blocked_on.target, WaitTarget::Queue(_));
        match self.held_since {
            Some(since) if self.blocked_on.is_some_and(is_queue) => {
                write!(f, ", whose other end only the next task has used so far, at {since}")
            }
            Some(since) => write!(f, ", held by the next task since {since}"),
            None => Ok(()),
        }
    }
}

/// Returns the line of the circle: that of the wait which closed it.
pub(super) fn place(members: &[CycleMember]) -> &'static Location<'static> {
    members.first().map_or_else(Location::caller, CycleMember::at)
}

pub(super) fn headline(members: &[CycleMember], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match members {
        [alone] => write!(f, "{} waits for a lock that it holds, and for nothing else", alone.task),
        members => write!(f, "{} tasks wait for each other, and for nothing else", members.len()),
    }
}

/// Writes each member, with the number of the task that it waits for.
pub(super) fn details(members: &[CycleMember], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, member) in members.iter().enumerate() {
        let next = &members[(index + 1) % members.len()];
        writeln!(f, "  = {member}")?;
        if members.len() > 1 {
            writeln!(f, "  =   so it waits for {}", next.task)?;
        }
    }
    Ok(())
}

pub(super) const HELP: &str = "acquire locks in the same order everywhere, do not hold one while \
                               waiting for a task that needs it, and keep polling a future that \
                               holds one: spawn it instead of setting it aside";
