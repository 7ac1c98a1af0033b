use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::id::TaskId;

/// A cancellation: which task cancelled this one, at which line, and why.
///
/// A cancellation applies to a whole subtree: the descendants of a cancelled task receive the same
/// one, as [inherited](Cancelled::is_inherited).
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
// One word, because every node has room for one.
pub struct Cancelled(Arc<Inner>);

/// A reason, and how it reached a task.
#[derive(PartialEq, Eq)]
struct Inner {
    reason: Arc<CancelReason>,
    route: CancelRoute,
}

/// The part of a cancellation that is shared by all tasks that it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelReason {
    pub(crate) kind: CancelKind,
    /// The task that requested or caused it.
    pub(crate) by: Option<TaskRef>,
    /// The line that did so; see [`Cancelled::at`].
    pub(crate) location: Option<&'static Location<'static>>,
    /// The text that was given with the request.
    pub(crate) text: Option<Cow<'static, str>>,
}

/// A task, as a reason names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRef {
    pub(crate) id: TaskId,
    pub(crate) name: Option<Arc<str>>,
}

/// The cause of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelKind {
    /// The parent called `cancel`.
    Requested,
    /// The parent dropped the promise.
    PromiseDropped,
    /// A combinator dropped the branch that held the promise.
    BranchAbandoned,
    /// The parent ended.
    ParentEnded,
    /// A deadline passed.
    Deadline,
    /// A task of the run violated a rule.
    Violation,
    /// The run failed, for example because of an error of its driver.
    RunFailed,
    /// The `Runtime` was shut down.
    ShutDown,
}

/// How a cancellation reached a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CancelRoute {
    /// The task itself was cancelled.
    Direct,
    /// An ancestor was cancelled.
    Inherited,
    /// The time limit of the task's shield expired after the request.
    ShieldExpired,
}

impl Cancelled {
    pub(crate) fn new(reason: CancelReason) -> Cancelled {
        Cancelled::with_route(Arc::new(reason), CancelRoute::Direct)
    }

    fn with_route(reason: Arc<CancelReason>, route: CancelRoute) -> Cancelled {
        Cancelled(Arc::new(Inner { reason, route }))
    }

    /// Returns the same cancellation for a descendant.
    pub(crate) fn inherited(&self) -> Cancelled {
        if self.is_inherited() {
            return self.clone();
        }
        Cancelled::with_route(Arc::clone(&self.0.reason), CancelRoute::Inherited)
    }

    /// Returns the same cancellation for a shield whose time limit has expired.
    pub(crate) fn after_shield(&self) -> Cancelled {
        Cancelled::with_route(Arc::clone(&self.0.reason), CancelRoute::ShieldExpired)
    }

    /// Returns whether this is the cancellation for `reason` of a task itself.
    pub(crate) fn matches(&self, reason: &CancelReason) -> bool {
        *self.0.reason == *reason && self.0.route == CancelRoute::Direct
    }

    /// Returns the line that caused the cancellation: the one that called
    /// [`cancel`](crate::Promise::cancel), set the [`deadline`](crate::deadline), or created the
    /// combinator that dropped the branch. The line of a drop or of a return is not known; if the
    /// promise was dropped, this is the line that spawned the child, and if the parent returned,
    /// the line that spawned the parent. `None` if the run failed or a rule was violated.
    pub fn at(&self) -> Option<&'static Location<'static>> {
        self.0.reason.location
    }

    /// Returns the task that caused it, if any.
    pub fn by(&self) -> Option<TaskId> {
        self.0.reason.by.as_ref().map(|actor| actor.id)
    }

    /// Returns the name of the task that caused it, if it has one.
    pub fn by_name(&self) -> Option<&str> {
        self.0.reason.by.as_ref()?.name.as_deref()
    }

    /// Returns the text given with the request, for example by
    /// [`cancel_because`](crate::Promise::cancel_because).
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.text.as_deref()
    }

    /// Returns whether the task was cancelled because one of its ancestors was.
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
        let outside = || "code outside any task".to_owned();
        let by = self.by.as_ref().map_or_else(outside, ToString::to_string);
        let at = self.location.map(|at| format!(" at {at}")).unwrap_or_default();
        let spawned = self.location.map(|at| format!(" (spawned at {at})")).unwrap_or_default();
        match self.kind {
            CancelKind::Requested => write!(f, "cancelled by {by}{at}"),
            CancelKind::PromiseDropped => {
                write!(f, "cancelled because {by} dropped its promise{spawned}")
            }
            CancelKind::BranchAbandoned => {
                write!(f, "cancelled because {by} dropped the branch that held it{at}")
            }
            CancelKind::ParentEnded => {
                write!(f, "cancelled because its parent, {by}{spawned}, ended")
            }
            CancelKind::Deadline => {
                write!(f, "cancelled because its deadline passed, which was set by {by}{at}")
            }
            CancelKind::Violation => write!(f, "cancelled because {by} violated a rule{at}"),
            CancelKind::RunFailed => f.write_str("cancelled because its run failed"),
            CancelKind::ShutDown => write!(f, "cancelled because its runtime was shut down{at}"),
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
                "the time limit of the task's shield expired; it had been "
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
