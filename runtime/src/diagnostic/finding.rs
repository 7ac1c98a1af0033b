//! Findings: suspicious facts that end nothing.

use std::fmt;
use std::panic::Location;

use super::text::list;
use super::{ChildInfo, TaskInfo};
use crate::task::Cause;

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
}

impl Finding {
    /// Returns the name of the finding: `"Forgotten"`, ..
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Forgotten { .. } => "Forgotten",
            Finding::FailureUnseen { .. } => "FailureUnseen",
        }
    }

    /// Returns the line that the finding is about. Findings with the same name and line count as
    /// repetitions.
    pub fn at(&self) -> &'static Location<'static> {
        match self {
            Finding::Forgotten { child, .. } => child.spawned_at,
            Finding::FailureUnseen { task, .. } => task.spawned_at,
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
