//! Violations of the rules, as data and as text.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use matou_ownership::{NotOwner, ResourceInfo};

use crate::task::BlockedOn;
use crate::task::{
    CancelKind, CancelReason, Cancelled, NIL, Node, Parent, Slot, Stage, TaskId, TaskRef, TaskTree,
};

/// The most ancestors, and the most children, that a report names.
const NAMED_MAX: usize = 16;

/// A violation of a rule. It fails the whole run, and no task can catch it.
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
            Violation::NotAChild { child, .. } => list(f, "child", std::slice::from_ref(child)),
            Violation::NotOwner { error, .. } => {
                writeln!(f, "  = used at {}", error.used_at)?;
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
                 `transfer` it, or build the task with `inherit`"
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
        writeln!(f, "\n  --> {} (where {task} was spawned)", task.spawned_at)?;
        self.details(f)?;
        for parent in &task.parents {
            writeln!(f, "  = child of {parent}")?;
        }
        write!(f, "  = help: {}", self.help())
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> (usize, &'static str) {
    (count, if count == 1 { one } else { many })
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[impl fmt::Display]) -> fmt::Result {
    for item in items.iter().take(NAMED_MAX) {
        writeln!(f, "  = {what}: {item}")?;
    }
    match items.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => writeln!(f, "  = .. and {more} more"),
    }
}

fn owner_title(owner: &matou_ownership::OwnerInfo) -> String {
    match &owner.name {
        Some(name) => format!("task `{name}`, spawned at {}", owner.made_at),
        None => format!("a task spawned at {}", owner.made_at),
    }
}

/// A task in a report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task.
    pub id: TaskId,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its domain.
    pub domain: usize,
    /// The line that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// Its ancestors, nearest first: at most 16, and none beyond the nearest one on another domain.
    pub parents: Vec<Ancestor>,
}

/// An ancestor of a task in a report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ancestor {
    /// The task, if it is on the reporting domain.
    pub id: Option<TaskId>,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its domain.
    pub domain: usize,
    /// The line that spawned it, if it is on the reporting domain.
    pub spawned_at: Option<&'static Location<'static>>,
}

impl TaskInfo {
    pub(crate) fn of<R>(tree: &TaskTree<R>, slot: Slot, domain: usize) -> TaskInfo {
        if slot == NIL {
            let spawned_at = Location::caller();
            return TaskInfo {
                id: TaskId::NONE,
                name: None,
                domain,
                spawned_at,
                parents: Vec::new(),
            };
        }
        let node = &tree[slot];
        TaskInfo {
            id: node.id.get(),
            name: node.name(),
            domain,
            spawned_at: node.spawned_at.get(),
            parents: Ancestor::chain(tree, node.parent.get(), domain),
        }
    }
}

impl Ancestor {
    fn chain<R>(tree: &TaskTree<R>, mut parent: Parent, here: usize) -> Vec<Ancestor> {
        let mut chain = Vec::new();
        while chain.len() < NAMED_MAX {
            match parent {
                Parent::None => break,
                Parent::Local(slot) => {
                    let node = &tree[slot];
                    chain.push(Ancestor {
                        id: Some(node.id.get()),
                        name: node.name(),
                        domain: here,
                        spawned_at: Some(node.spawned_at.get()),
                    });
                    parent = node.parent.get();
                }
                Parent::Remote { domain, .. } => {
                    let domain = usize::from(domain);
                    chain.push(Ancestor { id: None, name: None, domain, spawned_at: None });
                    break;
                }
            }
        }
        chain
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.id == TaskId::NONE {
            return f.write_str("code outside any task");
        }
        write!(f, "task {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        write!(f, " on domain {}", self.domain)
    }
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, self.spawned_at) {
            (Some(id), Some(spawned_at)) => {
                write!(f, "task {id}")?;
                if let Some(name) = &self.name {
                    write!(f, " `{name}`")?;
                }
                write!(f, ", spawned at {spawned_at}")
            }
            _ => write!(f, "a task on domain {}", self.domain),
        }
    }
}

/// A child in a report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildInfo {
    /// The child.
    pub id: TaskId,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// The line that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// Its state when the report was made.
    pub state: ChildState,
    /// The operation that it is blocked on; known for a child on the same domain.
    pub blocked_on: BlockedOn,
    /// Why it was cancelled, if it was.
    pub cancelled: Option<Cancelled>,
}

/// The state of a child when a report was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It was running, or blocked.
    Running,
    /// It was on this other domain, which has its state.
    Remote(usize),
    /// It was cancelled, or waited for its children or finalizers.
    Terminating,
    /// It had completed, and was not joined.
    Complete,
    /// Not known, because it is not a child of the reporting task.
    Unknown,
}

impl ChildInfo {
    pub(crate) fn of<R>(node: &Node<R>) -> ChildInfo {
        let state = match (node.stage.get(), node.remote_domain.get()) {
            (Stage::Complete, _) => ChildState::Complete,
            (_, Some(domain)) => ChildState::Remote(usize::from(domain)),
            (Stage::Running, None) if !node.cancel.is_some() => ChildState::Running,
            _ => ChildState::Terminating,
        };
        ChildInfo {
            id: node.id.get(),
            name: node.name(),
            spawned_at: node.spawned_at.get(),
            state,
            blocked_on: node.blocked_on.get(),
            cancelled: node.cancel.get(),
        }
    }

    /// Describes a task that is not a child of the reporting task.
    pub(crate) fn escaped(id: TaskId, spawned_at: &'static Location<'static>) -> ChildInfo {
        let (state, blocked_on) = (ChildState::Unknown, BlockedOn::UNKNOWN);
        ChildInfo { id, name: None, spawned_at, state, blocked_on, cancelled: None }
    }

    fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("task {} `{name}`", self.id),
            None => format!("task {}", self.id),
        }
    }
}

impl fmt::Display for ChildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, spawned at {}", self.title(), self.spawned_at)?;
        match self.state {
            ChildState::Running if self.blocked_on == BlockedOn::UNKNOWN => {
                f.write_str(": running")
            }
            ChildState::Running => write!(f, ": waiting for {}", self.blocked_on),
            ChildState::Remote(domain) => write!(f, ": running on domain {domain}"),
            ChildState::Terminating => match &self.cancelled {
                Some(cancelled) => write!(f, ": terminating ({cancelled})"),
                None => f.write_str(": terminating"),
            },
            ChildState::Complete => f.write_str(": finished but never joined"),
            ChildState::Unknown => Ok(()),
        }
    }
}

/// The violations of a run, in the order in which they were recorded.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) violations: Vec<Violation>,
    /// The number of further violations.
    pub(crate) more: usize,
}

impl Report {
    /// Returns the violations: at least one, at most the first 64.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(violation, f)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n\n.. and {more} more violations"),
        }
    }
}
