use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::id::TaskId;

/// The id, the name and the spawn line of a task, as its errors keep them.
///
/// See [`TaskError::task`](crate::TaskError::task). A clone is cheap.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, Task, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let child = Task::new().name("load").try_spawn(async { Err::<(), _>("no disk") });
///     let error = child.await.unwrap_err();
///     let task = error.task().expect("a spawned task");
///     assert_eq!(task.name(), Some("load"));
///     assert_eq!(error.to_string(), format!("{task}, failed: no disk"));
///     Ok(())
/// })
/// # }
/// ```
// One word, because every outcome has room for one.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskIdentity(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    id: TaskId,
    name: Option<Arc<str>>,
    spawned_at: &'static Location<'static>,
}

impl TaskIdentity {
    pub(crate) fn new(
        id: TaskId,
        name: Option<Arc<str>>,
        spawned_at: &'static Location<'static>,
    ) -> TaskIdentity {
        TaskIdentity(Arc::new(Inner { id, name, spawned_at }))
    }

    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.0.id
    }

    /// Returns the name of the task, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Returns the line that spawned the task.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.spawned_at
    }
}

impl fmt::Display for TaskIdentity {
    /// Writes ``task #3 `load`, spawned at src/main.rs:12:9``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id())?;
        if let Some(name) = self.name() {
            write!(f, " `{name}`")?;
        }
        write!(f, ", spawned at {}", self.spawned_at())
    }
}

impl fmt::Debug for TaskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The subject of an error's text: the task, or "the task" if it is not known.
pub(crate) struct Subject<'a>(pub(crate) Option<&'a TaskIdentity>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(task) => write!(f, "{task},"),
            None => f.write_str("the task"),
        }
    }
}
