//! Violations of the rules, as data and as text.

use std::fmt;
use std::panic::Location;

use matou_ownership::{NotOwner, ResourceInfo};

use super::text::{list, owner_title, plural};
use super::{ChildInfo, TaskInfo};
use crate::source_line::Used;
use crate::task::{CancelKind, CancelReason, TaskId, TaskRef};

/// A violation of a rule. It ends the task that committed it, and no task can catch it (R10).
///
/// The parent receives it as [`TaskError::Violation`](crate::TaskError::Violation). With
/// [`Violations::FailRun`](crate::Violations::FailRun) it fails the whole run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Violation {
    /// A task returned without having awaited or cancelled all its children (R1).
    StillHasChildren {
        /// The task that ended.
        task: TaskInfo,
        /// The children that were neither awaited nor cancelled.
        children: Vec<ChildInfo>,
    },
    /// A task awaited or cancelled a promise, or used an `Orphans`, of another task (R2).
    NotAChild {
        /// The task that did it.
        task: TaskInfo,
        /// The child that it is not the parent of.
        child: ChildInfo,
        /// The line that awaited, cancelled or used it, if it is known.
        used_at: Option<&'static Location<'static>>,
    },
    /// A task used a resource that another task owns (R7).
    NotOwner {
        /// The task that did it.
        task: TaskInfo,
        /// The resource, its owner and the line that used it.
        error: NotOwner,
    },
    /// A task returned while it still owned resources (R7), which are finalized.
    ResourceLeaked {
        /// The task that ended.
        task: TaskInfo,
        /// The resources that it still owned.
        resources: Vec<ResourceInfo>,
    },
    /// A finalizer did not complete within the grace period, and was dropped (R8).
    FinalizerUnfinished {
        /// The task whose finalizer it was.
        task: TaskInfo,
        /// The resources whose finalizers did not complete.
        resources: Vec<ResourceInfo>,
    },
}

impl Violation {
    /// Returns the name of the violation: `"StillHasChildren"`, `"NotAChild"`, ..
    pub fn name(&self) -> &'static str {
        match self {
            Violation::StillHasChildren { .. } => "StillHasChildren",
            Violation::NotAChild { .. } => "NotAChild",
            Violation::NotOwner { .. } => "NotOwner",
            Violation::ResourceLeaked { .. } => "ResourceLeaked",
            Violation::FinalizerUnfinished { .. } => "FinalizerUnfinished",
        }
    }

    /// Returns the task that violated the rule.
    pub fn task(&self) -> &TaskInfo {
        match self {
            Violation::StillHasChildren { task, .. }
            | Violation::NotAChild { task, .. }
            | Violation::NotOwner { task, .. }
            | Violation::ResourceLeaked { task, .. }
            | Violation::FinalizerUnfinished { task, .. } => task,
        }
    }

    /// Returns the cancel reason of the tasks that are cancelled because of it.
    pub(crate) fn reason(&self) -> CancelReason {
        let task = self.task();
        let by =
            (task.id != TaskId::NONE).then(|| TaskRef { id: task.id, name: task.name.clone() });
        CancelReason {
            by,
            text: Some(self.name().into()),
            ..CancelReason::new(CancelKind::Violation)
        }
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task();
        write!(f, "error[{}]: ", self.name())?;
        match self {
            Violation::StillHasChildren { children, .. } => {
                let (number, are) = plural(children.len(), "child that was", "children that were");
                write!(f, "{task} ended and left {number} {are} neither awaited nor cancelled")
            }
            Violation::NotAChild { child, .. } => {
                write!(f, "{task} is not the parent of {}", child.title())
            }
            Violation::NotOwner { error, .. } => {
                write!(f, "{task} used {} without owning it", error.resource)
            }
            Violation::ResourceLeaked { resources, .. } => {
                let (number, resources) = plural(resources.len(), "resource", "resources");
                write!(f, "{task} ended while it still owned {number} {resources}")
            }
            Violation::FinalizerUnfinished { resources, .. } => {
                let (number, resources) = plural(resources.len(), "resource", "resources");
                write!(f, "{task} could not finalize {number} {resources} within the grace period")
            }
        }
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::StillHasChildren { children, .. } => list(f, "child", children),
            Violation::NotAChild { child, used_at, .. } => {
                list(f, "child", std::slice::from_ref(child))?;
                used_at.map_or(Ok(()), |used_at| writeln!(f, "  = used{}", Used(used_at)))
            }
            Violation::NotOwner { error, .. } => {
                writeln!(f, "  = used{}", Used(error.used_at))?;
                writeln!(f, "  = made at {}", error.resource.made_at)?;
                // The runtime labels a ledger after the poll that created it.
                let unknown = || "a task whose current poll has not returned yet".to_owned();
                let owner = error.owner.as_ref().map_or_else(unknown, owner_title);
                let way = if error.in_transit { "in transit to the parent of " } else { "" };
                writeln!(f, "  = owner: {way}{owner}")
            }
            Violation::ResourceLeaked { resources, .. }
            | Violation::FinalizerUnfinished { resources, .. } => list(f, "resource", resources),
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Violation::StillHasChildren { .. } => {
                "await each promise or `cancel().await` it before the task ends; children that \
                 run in the background go into `Orphans`, which is drained with `next`"
            }
            Violation::NotAChild { .. } => {
                "only the task that spawned a child may await or cancel it; send its result \
                 through a queue instead of its promise"
            }
            Violation::NotOwner { .. } => {
                "pass it to the child with `Task::new().give(&resource)` when it is spawned, or \
                 move the value itself into the child"
            }
            Violation::ResourceLeaked { .. } => {
                "drop or release it before the task ends; if it was meant for the parent, \
                 `transfer` it, or build the task with `inherit` unless it was given"
            }
            Violation::FinalizerUnfinished { .. } => {
                "raise `Builder::grace`, or bound what the finalizer waits for"
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task();
        self.headline(f)?;
        match task.id {
            TaskId::NONE => writeln!(f)?,
            _ => writeln!(f, "\n  --> {} (where {task} was spawned)", task.spawned_at)?,
        }
        self.details(f)?;
        for parent in &task.parents {
            writeln!(f, "  = child of {parent}")?;
        }
        write!(f, "  = help: {}", self.help())
    }
}
