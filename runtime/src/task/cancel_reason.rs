use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::id::TaskId;

/// A cancellation: who ended a task before it had returned, at which line, and why.
///
/// One cancellation reaches a whole subtree: the descendants of a cancelled task are told of the
/// same one, as [inherited](Cancelled::is_inherited).
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, Task, TaskError, deadline, now, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let child = deadline(now(), async { Task::new().name("late").spawn(pending::<()>()) });
///     match child.await?.await {
///         Err(TaskError::Cancelled(cancelled)) => {
///             assert!(cancelled.to_string().contains("its deadline passed"));
///         }
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
// One word, as each task has room for one.
pub struct Cancelled(Arc<Inner>);

/// A reason, and how it came to whoever is told of it.
#[derive(PartialEq, Eq)]
struct Inner {
    reason: Arc<CancelReason>,
    route: CancelRoute,
}

/// What all the tasks that a cancellation reaches have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelReason {
    pub(crate) kind: CancelKind,
    /// The task that asked for it, or brought it about.
    pub(crate) by: Option<TaskRef>,
    /// The line that did.
    pub(crate) location: Option<&'static Location<'static>>,
    /// What it said.
    pub(crate) text: Option<Cow<'static, str>>,
}

/// A task in a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRef {
    pub(crate) id: TaskId,
    pub(crate) name: Option<Arc<str>>,
}

/// What brought a cancellation about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelKind {
    /// The parent asked for it.
    Requested,
    /// The parent dropped the promise.
    PromiseDropped,
    /// A combinator gave up the branch that held the promise.
    BranchAbandoned,
    /// The parent ended.
    ParentEnded,
    /// A deadline passed.
    Deadline,
    /// A rule was broken somewhere in the run.
    Violation,
    /// The run cannot go on (for example its driver failed).
    RunFailed,
}

/// How a cancellation came to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CancelRoute {
    Direct,
    /// From an ancestor.
    Inherited,
    /// It was shielded from it, but for too long.
    ShieldExpired,
}

impl Cancelled {
    pub(crate) fn new(reason: CancelReason) -> Cancelled {
        Cancelled::with_route(Arc::new(reason), CancelRoute::Direct)
    }

    fn with_route(reason: Arc<CancelReason>, route: CancelRoute) -> Cancelled {
        Cancelled(Arc::new(Inner { reason, route }))
    }

    /// The same cancellation, as it comes to a descendant.
    pub(crate) fn inherited(&self) -> Cancelled {
        if self.is_inherited() {
            return self.clone();
        }
        Cancelled::with_route(Arc::clone(&self.0.reason), CancelRoute::Inherited)
    }

    /// The same cancellation, as it comes to a task that was shielded from it for too long.
    pub(crate) fn after_shield(&self) -> Cancelled {
        Cancelled::with_route(Arc::clone(&self.0.reason), CancelRoute::ShieldExpired)
    }

    /// Whether it is that of `reason`, as it comes to whom it is meant for.
    pub(crate) fn matches(&self, reason: &CancelReason) -> bool {
        *self.0.reason == *reason && self.0.route == CancelRoute::Direct
    }

    pub(crate) fn kind(&self) -> CancelKind {
        self.0.reason.kind
    }

    /// Returns the line that brought it about, or comes next to it: the one that called
    /// [`cancel`](crate::Promise::cancel), set a [`deadline`](crate::deadline), or made the
    /// combinator that gave up the branch. A drop does not know its line, nor does the end of a
    /// task; so for a dropped promise it is the line that made the promise, and for a parent that
    /// ended the one that made the parent. `None` if the run failed or a rule was broken.
    pub fn at(&self) -> Option<&'static Location<'static>> {
        self.0.reason.location
    }

    /// Returns the task that brought it about, if one did.
    pub fn by(&self) -> Option<TaskId> {
        self.0.reason.by.as_ref().map(|actor| actor.id)
    }

    /// Returns the name of the task that brought it about, if it has one.
    pub fn by_name(&self) -> Option<&str> {
        self.0.reason.by.as_ref()?.name.as_deref()
    }

    /// Returns what was said, by [`cancel_because`](crate::Promise::cancel_because) for example.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.text.as_deref()
    }

    /// Returns whether it came from an ancestor that was cancelled.
    pub fn is_inherited(&self) -> bool {
        self.0.route == CancelRoute::Inherited
    }
}

impl CancelReason {
    pub(crate) fn new(kind: CancelKind) -> CancelReason {
        CancelReason { kind, by: None, location: None, text: None }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let somebody = || "somebody".to_owned();
        let by = self.by.as_ref().map_or_else(somebody, ToString::to_string);
        let at = self.location.map(|at| format!(" at {at}")).unwrap_or_default();
        let made = self.location.map(|at| format!(" (made at {at})")).unwrap_or_default();
        match self.kind {
            CancelKind::Requested => write!(f, "cancelled by {by}{at}"),
            CancelKind::PromiseDropped => {
                write!(f, "cancelled because {by} dropped its promise{made}")
            }
            CancelKind::BranchAbandoned => {
                write!(f, "cancelled because {by} gave up the branch that held it{at}")
            }
            CancelKind::ParentEnded => {
                write!(f, "cancelled because its parent, {by}{made}, ended")
            }
            CancelKind::Deadline => {
                write!(f, "cancelled because its deadline passed, which was set by {by}{at}")
            }
            CancelKind::Violation => write!(f, "cancelled because {by} broke a rule{at}"),
            CancelKind::RunFailed => f.write_str("cancelled because its run failed"),
        }?;
        match &self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.route {
            CancelRoute::Direct => "the task was ",
            CancelRoute::Inherited => "the task was cancelled with an ancestor that was ",
            CancelRoute::ShieldExpired => {
                "the time limit of the task's shield was over; it had been "
            }
        })?;
        fmt::Display::fmt(&self.0.reason, f)
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("reason", &self.0.reason)
            .field("route", &self.0.route)
            .finish()
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "task {} `{name}`", self.id),
            None => write!(f, "task {}", self.id),
        }
    }
}

impl Error for Cancelled {}
