//! How tasks end, as their parents see it.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::sync::{Mutex, PoisonError};

use crate::diagnostic::Report;
use crate::error_chain::{WithSources, source_of};
use crate::panics;
use crate::task::{Cancelled, Cause, Subject, TaskIdentity};

/// The result of a child, as its parent receives it.
pub type Outcome<T, E = Infallible> = Result<T, TaskError<E>>;

/// Why a task did not return a value.
///
/// A task may end for several reasons: it returns an error, and then a destructor panics. The
/// variant is the first one in the order violation, panic, error; the others are its [further
/// causes](TaskError::further_causes).
///
/// `E` is the error type of a task spawned by [`try_spawn`](crate::try_spawn) or
/// [`try_call`](crate::try_call). A task spawned by [`spawn`](crate::spawn) has none.
///
/// The text names the task and the line that spawned it. `{}` writes one line for an error, with
/// the errors of all tasks that it passed through; `{:#}` writes one line for each of these tasks
/// and for each source of the error.
///
/// # Examples
///
/// ```
/// use matou_runtime::{MainError, RunError, Task, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let parent = Task::new().name("index").try_spawn(async {
///         try_spawn(async { Err::<(), MainError>("no disk".into()) }).await?;
///         Ok::<_, MainError>(())
///     });
///     let text = format!("{:#}", parent.await.unwrap_err());
///     let lines: Vec<_> = text.lines().collect();
///     assert!(lines[0].starts_with("task #2 `index`, spawned at "), "{text}");
///     assert!(lines[1].starts_with("  caused by: task #3, spawned at "), "{text}");
///     assert_eq!(lines[2], "  caused by: no disk");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "JoinError")]
#[derive(Debug)]
pub enum TaskError<E = Infallible> {
    /// The task returned `Err`.
    Failed {
        /// The error that it returned.
        error: E,
        /// The task. `None` in an error made by [`TaskError::failed`].
        task: Option<TaskIdentity>,
    },
    /// The task, the drop of its future, or one of its finalizers panicked.
    Panicked(Panic),
    /// The task was cancelled before it had returned.
    Cancelled(Cancelled),
    /// The task violated a rule, and was ended for it (R10).
    Violation(Report),
    /// A [`blocking`](crate::blocking()) job was cancelled, had not ended after the
    /// [grace period](crate::Builder::grace), and was left behind. It may still be running.
    Unfinished(Cancelled),
}

impl<E> TaskError<E> {
    /// Wraps an error that no task has returned, for code that takes the place of a task.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::TaskError;
    ///
    /// assert_eq!(TaskError::failed("no disk").to_string(), "the task failed: no disk");
    /// ```
    pub fn failed(error: E) -> TaskError<E> {
        TaskError::Failed { error, task: None }
    }

    /// Returns the task that failed, panicked or violated a rule. A cancellation [says
    /// more](Cancelled), and does not contain the task.
    pub fn task(&self) -> Option<&TaskIdentity> {
        match self {
            TaskError::Failed { task, .. } => task.as_ref(),
            TaskError::Panicked(panic) => panic.task(),
            TaskError::Violation(report) => report.task(),
            TaskError::Cancelled(_) | TaskError::Unfinished(_) => None,
        }
    }

    /// Returns whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, TaskError::Cancelled(_))
    }

    /// Returns whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, TaskError::Panicked(_))
    }

    /// Returns whether the task violated a rule.
    pub fn is_violation(&self) -> bool {
        matches!(self, TaskError::Violation(_))
    }

    /// Returns whether the task was a blocking job that was left behind.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, TaskError::Unfinished(_))
    }

    /// Returns the report, if the task violated a rule.
    pub fn report(&self) -> Option<&Report> {
        match self {
            TaskError::Violation(report) => Some(report),
            _ => None,
        }
    }

    /// Returns the other causes of the same end, as text.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::Owned;
    /// use matou_runtime::{RunError, run, try_spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let child = try_spawn(async {
    ///         // An asynchronous finalizer runs at the end of the task.
    ///         drop(Owned::with_async("file", |_| async { panic!("cannot be flushed") }));
    ///         Err::<(), _>("the disk is full")
    ///     });
    ///     let error = child.await.unwrap_err();
    ///     assert!(error.is_panicked());
    ///     assert_eq!(error.further_causes()[0].to_string(), "it failed: the disk is full");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn further_causes(&self) -> &[Cause] {
        match self {
            TaskError::Panicked(panic) => panic.further_causes(),
            TaskError::Violation(report) => report.further_causes(),
            TaskError::Failed { .. } | TaskError::Cancelled(_) | TaskError::Unfinished(_) => &[],
        }
    }

    /// Returns the task's own error if it returned one.
    pub fn into_failure(self) -> Option<E> {
        match self {
            TaskError::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl<E: fmt::Display + 'static> fmt::Display for TaskError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Failed { error, task } => {
                let task = Subject(task.as_ref());
                match f.alternate() {
                    true => write!(f, "{task} failed\n  caused by: {}", WithSources(error)),
                    false => write!(f, "{task} failed: {error}"),
                }
            }
            TaskError::Panicked(panic) => fmt::Display::fmt(panic, f),
            TaskError::Cancelled(cancelled) => fmt::Display::fmt(cancelled, f),
            TaskError::Violation(report) => {
                write!(f, "{} violated a rule:\n{report}", Subject(report.task()))
            }
            TaskError::Unfinished(cancelled) => {
                write!(f, "the blocking job did not end within the grace period: {cancelled}")
            }
        }
    }
}

// Without the bound `E: Error`, `?` works for a `TaskError<Box<dyn Error + Send + Sync>>`, too.
impl<E: fmt::Debug + fmt::Display + 'static> Error for TaskError<E> {
    /// Returns the source of the task's own error, if that is an [`io::Error`](std::io::Error) or a
    /// boxed error. The text of this error contains that of the task's own one already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // fault: task-error-without-source
            TaskError::Failed { error, .. } => source_of(error),
            _ => None,
        }
    }
}

/// The kind is that of the task's own error; the text names the task. So `?` passes the failure of
/// a child on in functions that return [`io::Result`].
impl From<TaskError<io::Error>> for io::Error {
    fn from(error: TaskError<io::Error>) -> io::Error {
        let kind = match &error {
            // fault: task-error-of-another-kind
            TaskError::Failed { error, .. } => error.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Drops an outcome that no task receives, and returns the causes in it that would be lost. They
/// include a panic of the drop itself. Violations are not among them: they were reported when they
/// happened.
pub(crate) fn discard<T, E: 'static>(outcome: Outcome<T, E>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let dropped = match outcome {
        Ok(value) => Panic::catch(|| drop(value)),
        Err(TaskError::Failed { error, .. }) => {
            causes.push(Cause::failed(&error));
            Panic::catch(|| drop(error))
        }
        Err(TaskError::Panicked(panic)) => Err(panic),
        Err(TaskError::Violation(report)) => {
            causes.extend(report.into_further_causes());
            Ok(())
        }
        // That a job was left behind was reported when it happened.
        Err(TaskError::Cancelled(_) | TaskError::Unfinished(_)) => Ok(()),
    };
    if let Err(panic) = dropped {
        causes.extend(panic.into_causes());
    }
    causes
}

/// A panic of a task, caught by the runtime.
// Boxed, because every outcome has room for one and hardly any has one.
pub struct Panic(Box<Caught>);

struct Caught {
    message: String,
    location: Option<String>,
    task: Option<TaskIdentity>,
    /// In a mutex so that the error is `Sync`, as `Box<dyn Error + Send + Sync>` requires.
    payload: Mutex<Box<dyn Any + Send>>,
    further_causes: Vec<Cause>,
}

impl Panic {
    /// Runs `f` and returns a panic as a value.
    pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
        panics::catch_payload(f).map_err(Panic::caught)
    }

    /// Wraps a payload that `catch_unwind` has just returned on this thread.
    #[cold]
    pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Panic {
        Panic(Box::new(Caught {
            message: panics::message(&*payload),
            location: panics::take_location(&*payload),
            task: None,
            payload: Mutex::new(payload),
            further_causes: Vec::new(),
        }))
    }

    pub(crate) fn from_message(message: String) -> Panic {
        let payload = Mutex::new(Box::new(message.clone()) as Box<_>);
        let further_causes = Vec::new();
        Panic(Box::new(Caught { message, location: None, task: None, payload, further_causes }))
    }

    /// Records the task that panicked, unless one is recorded.
    pub(crate) fn set_task(&mut self, task: Option<TaskIdentity>) {
        self.0.task = self.0.task.take().or(task);
    }

    pub(crate) fn add_causes(&mut self, causes: impl IntoIterator<Item = Cause>) {
        self.0.further_causes.extend(causes);
    }

    /// Returns the panic and its further causes as text. The payload is not dropped if its
    /// destructor might panic.
    pub(crate) fn into_causes(self) -> impl Iterator<Item = Cause> {
        let Caught { message, location, payload, further_causes, .. } = *self.0;
        panics::forget_payload(payload.into_inner().unwrap_or_else(PoisonError::into_inner));
        iter::once(Cause::Panicked { message, location }).chain(further_causes)
    }

    /// Returns the message and the location. The payload is not dropped if its destructor might
    /// panic.
    pub(crate) fn into_text(self) -> String {
        let location = self.location().map(|at| format!("{at}: ")).unwrap_or_default();
        let text = format!("{location}{}", self.message());
        panics::forget_payload(self.into_payload());
        text
    }

    /// Returns the message of the panic, or a placeholder if its payload is not text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns where the panic happened, as `file:line:column`, if matou's panic hook has recorded
    /// it.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// Returns the task that panicked, if the panic is the outcome of a task.
    pub fn task(&self) -> Option<&TaskIdentity> {
        self.0.task.as_ref()
    }

    /// Returns the other causes of the same end, as text: later panics, and the error that the task
    /// had returned.
    pub fn further_causes(&self) -> &[Cause] {
        &self.0.further_causes
    }

    /// Returns the payload, for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message())
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked", Subject(self.task()))?;
        if let Some(location) = self.location() {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.message())?;
        self.further_causes().iter().try_for_each(|cause| write!(f, "\n  = also: {cause}"))
    }
}

impl Error for Panic {}
