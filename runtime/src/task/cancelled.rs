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
pub struct Cancelled(Arc<Told>);

/// A reason, and how it came to whoever is told of it.
#[derive(PartialEq, Eq)]
struct Told {
    reason: Arc<Reason>,
    route: Route,
}

/// What all the tasks that a cancellation reaches have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) why: Why,
    /// The task that asked for it, or brought it about.
    pub(crate) by: Option<Actor>,
    /// The line that did.
    pub(crate) at: Option<&'static Location<'static>>,
    /// What it said.
    pub(crate) text: Option<Cow<'static, str>>,
}

/// A task in a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) id: TaskId,
    pub(crate) name: Option<Arc<str>>,
}

/// What brought a cancellation about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The parent asked for it.
    Asked,
    /// The parent dropped the promise.
    Dropped,
    /// A combinator gave up the branch that held the promise.
    GivenUp,
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
enum Route {
    Direct,
    /// From an ancestor.
    Inherited,
    /// It was shielded from it, but for too long.
    ShieldOver,
}

impl Cancelled {
    pub(crate) fn new(reason: Reason) -> Cancelled {
        Cancelled::told(Arc::new(reason), Route::Direct)
    }

    fn told(reason: Arc<Reason>, route: Route) -> Cancelled {
        Cancelled(Arc::new(Told { reason, route }))
    }

    /// The same cancellation, as it comes to a descendant.
    pub(crate) fn inherited(&self) -> Cancelled {
        if self.is_inherited() {
            return self.clone();
        }
        Cancelled::told(Arc::clone(&self.0.reason), Route::Inherited)
    }

    /// The same cancellation, as it comes to a task that was shielded from it for too long.
    pub(crate) fn after_shield(&self) -> Cancelled {
        Cancelled::told(Arc::clone(&self.0.reason), Route::ShieldOver)
    }

    /// Whether it is that of `reason`, as it comes to whom it is meant for.
    pub(crate) fn is_for(&self, reason: &Reason) -> bool {
        *self.0.reason == *reason && self.0.route == Route::Direct
    }

    pub(crate) fn why(&self) -> Why {
        self.0.reason.why
    }

    /// Returns the line that brought it about, or comes next to it: the one that called
    /// [`cancel`](crate::Promise::cancel), set a [`deadline`](crate::deadline), or made the
    /// combinator that gave up the branch. A drop does not know its line, nor does the end of a
    /// task; so for a dropped promise it is the line that made the promise, and for a parent that
    /// ended the one that made the parent. `None` if the run failed or a rule was broken.
    pub fn at(&self) -> Option<&'static Location<'static>> {
        self.0.reason.at
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
        self.0.route == Route::Inherited
    }
}

impl Reason {
    pub(crate) fn new(why: Why) -> Reason {
        Reason { why, by: None, at: None, text: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let somebody = || "somebody".to_owned();
        let by = self.by.as_ref().map_or_else(somebody, ToString::to_string);
        let at = self.at.map(|at| format!(" at {at}")).unwrap_or_default();
        let made = self.at.map(|at| format!(" (made at {at})")).unwrap_or_default();
        match self.why {
            Why::Asked => write!(f, "cancelled by {by}{at}"),
            Why::Dropped => write!(f, "cancelled because {by} dropped its promise{made}"),
            Why::GivenUp => {
                write!(f, "cancelled because {by} gave up the branch that held it{at}")
            }
            Why::ParentEnded => write!(f, "cancelled because its parent, {by}{made}, ended"),
            Why::Deadline => {
                write!(f, "cancelled because its deadline passed, which was set by {by}{at}")
            }
            Why::Violation => write!(f, "cancelled because {by} broke a rule{at}"),
            Why::RunFailed => f.write_str("cancelled because its run failed"),
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
            Route::Direct => "the task was ",
            Route::Inherited => "the task was cancelled with an ancestor that was ",
            Route::ShieldOver => "the time limit of the task's shield was over; it had been ",
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

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "task {} `{name}`", self.id),
            None => write!(f, "task {}", self.id),
        }
    }
}

impl Error for Cancelled {}
