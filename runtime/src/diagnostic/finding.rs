//! Findings: suspicious facts that end nothing.

use std::fmt;
use std::panic::Location;

use super::text::list;
use super::{ChildInfo, TaskInfo};
use crate::task::{BlockedOn, Cause};

/// Something suspicious that breaks no rule and ends nothing (R10).
///
/// A finding is handed to [`Builder::on_report`](crate::Builder::on_report), like a
/// [`Violation`](crate::Violation).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// The promise of a child that had not ended was dropped without ever having been awaited (R1).
    #[non_exhaustive]
    Forgotten {
        /// The child.
        child: ChildInfo,
        /// Its parent.
        parent: TaskInfo,
        /// The line that dropped the promise, if it is known.
        dropped_at: Option<&'static Location<'static>>,
    },
    /// A task failed or panicked, and no task received its outcome: the promise was dropped, or the
    /// task that held it ended.
    #[non_exhaustive]
    FailureUnseen {
        /// The task that failed.
        task: TaskInfo,
        /// Why it ended; at least one.
        causes: Vec<Cause>,
    },
    /// A future of a task was offered what it waits for, a lock for example, and its task was
    /// polled without polling it, because it was set aside. The next waiter has it now (R13).
    #[non_exhaustive]
    DeclinedOffer {
        /// The task.
        task: TaskInfo,
        /// The operation that waits, in a word: `"lock"`, `"push"`, `"pop"`, `"condition"`.
        operation: &'static str,
        /// The call that created the future.
        waiting_at: &'static Location<'static>,
        /// What the task waits for instead.
        blocked_on: BlockedOn,
    },
}

impl Finding {
    /// Returns the name of the finding: `"Forgotten"`, ..
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Forgotten { .. } => "Forgotten",
            Finding::FailureUnseen { .. } => "FailureUnseen",
            Finding::DeclinedOffer { .. } => "DeclinedOffer",
        }
    }

    /// Returns the line that the finding is about. Findings with the same name and line count as
    /// repetitions.
    pub fn at(&self) -> &'static Location<'static> {
        match self {
            Finding::Forgotten { child, .. } => child.spawned_at,
            Finding::FailureUnseen { task, .. } => task.spawned_at,
            Finding::DeclinedOffer { waiting_at, .. } => waiting_at,
        }
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warning[{}]: ", self.name())?;
        match self {
            Finding::Forgotten { child, parent, .. } => {
                write!(f, "{parent} dropped the promise of {} without awaiting it", child.title())
            }
            Finding::FailureUnseen { task, .. } => {
                write!(f, "{task} failed, and no task received its outcome")
            }
            Finding::DeclinedOffer { task, operation, .. } => {
                write!(
                    f,
                    "{task} was offered what its `{operation}` waits for, and did not take it"
                )
            }
        }
    }

    /// Writes the line that the finding is about.
    fn place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Forgotten { child, .. } => {
                writeln!(f, "  --> {} (where {} was spawned)", self.at(), child.title())
            }
            Finding::FailureUnseen { task, .. } => {
                writeln!(f, "  --> {} (where {task} was spawned)", self.at())
            }
            Finding::DeclinedOffer { operation, .. } => {
                writeln!(f, "  --> {} (the `{operation}` that was not polled)", self.at())
            }
        }
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Forgotten { child, parent, dropped_at } => {
                if let Some(dropped_at) = dropped_at {
                    writeln!(f, "  = dropped at {dropped_at}")?;
                }
                list(f, "child", std::slice::from_ref(child))?;
                list(f, "child of", &parent.parents)
            }
            Finding::FailureUnseen { task, causes } => {
                list(f, "cause", causes)?;
                list(f, "child of", &task.parents)
            }
            Finding::DeclinedOffer { task, blocked_on, .. } => {
                writeln!(f, "  = the task waits for {blocked_on} instead")?;
                writeln!(f, "  = task spawned at {}", task.spawned_at)?;
                list(f, "child of", &task.parents)
            }
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Finding::Forgotten { .. } => {
                "await the promise or `cancel().await` it; children that run in the background go \
                 into `Orphans`"
            }
            Finding::FailureUnseen { .. } => {
                "await the promise, or handle the error inside the task; children that run in the \
                 background go into `Orphans`, whose `next` returns their outcomes"
            }
            Finding::DeclinedOffer { .. } => {
                "go on polling a future that was polled, or drop it: do not await in a branch of a \
                 `select!` that keeps its other futures; or spawn them"
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        f.write_str("\n")?;
        self.place(f)?;
        self.details(f)?;
        write!(f, "  = help: {}", self.help())
    }
}
