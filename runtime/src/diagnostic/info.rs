//! The tasks that a diagnostic names.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::text::NAMED_MAX;
use crate::task::{BlockedOn, Cancelled, NIL, Node, Parent, Slot, Stage, TaskId, TaskTree};

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
            return TaskInfo::unknown(TaskId::NONE, domain, Location::caller());
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

impl TaskInfo {
    /// Describes a task whose node is not accessible.
    pub(crate) fn unknown(
        id: TaskId,
        domain: usize,
        spawned_at: &'static Location<'static>,
    ) -> TaskInfo {
        TaskInfo { id, name: None, domain, spawned_at, parents: Vec::new() }
    }
}

/// The part of a complete child's description that is lost with its node. Most outcomes that are
/// dropped contain no failure, so the ancestors are looked up only for a report.
pub(crate) struct CompletedChild {
    name: Option<Arc<str>>,
    domain: usize,
    parent: Parent,
}

impl CompletedChild {
    /// `here` is the domain that has the node.
    pub(crate) fn of<R>(node: &Node<R>, here: usize) -> CompletedChild {
        let domain = node.remote_domain.get().map_or(here, usize::from);
        CompletedChild { name: node.name(), domain, parent: node.parent.get() }
    }

    /// Returns the whole description of `child`. Its parent must still be in the tree.
    pub(crate) fn info<R>(
        self,
        tree: &TaskTree<R>,
        here: usize,
        (id, spawned_at): (TaskId, &'static Location<'static>),
    ) -> TaskInfo {
        let parents = Ancestor::chain(tree, self.parent, here);
        TaskInfo { id, name: self.name, domain: self.domain, spawned_at, parents }
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

    pub(super) fn title(&self) -> String {
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
