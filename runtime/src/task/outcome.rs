use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Mutex;

use super::cancel_reason::Cancelled;
use crate::panics;

/// What a parent sees of a child that has ended.
pub type Outcome<T, E = Infallible> = Result<T, TaskError<E>>;

/// Why a task ended abnormally.
///
/// `E` is the error of a task made by [`try_spawn`](crate::try_spawn) or
/// [`try_call`](crate::try_call); a task made by [`spawn`](crate::spawn) has none.
#[derive(Debug)]
pub enum TaskError<E = Infallible> {
    /// The task returned `Err`.
    Failed(E),
    /// The task, the drop of its future, or one of its finalizers panicked.
    Panicked(Panic),
    /// The task was cancelled before it had returned.
    Cancelled(Cancelled),
}

impl<E> TaskError<E> {
    /// Returns whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, TaskError::Cancelled(_))
    }

    /// Returns whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, TaskError::Panicked(_))
    }

    /// Returns the task's own error, if that is how it ended.
    pub fn into_failure(self) -> Option<E> {
        match self {
            TaskError::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for TaskError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Failed(error) => write!(f, "the task failed: {error}"),
            TaskError::Panicked(panic) => fmt::Display::fmt(panic, f),
            TaskError::Cancelled(cancelled) => fmt::Display::fmt(cancelled, f),
        }
    }
}

// Why is the task's own error not the source? It is in the text already; and `E` need not be an
// error itself, so that a `TaskError<Box<dyn Error + Send + Sync>>` passes through a `?`.
impl<E: fmt::Debug + fmt::Display> Error for TaskError<E> {}

/// A panic that was caught at the border of a task.
// Boxed: each task has room for one, and next to none needs it.
pub struct Panic(Box<Caught>);

struct Caught {
    message: String,
    location: Option<String>,
    /// In a mutex only so that the error is `Sync`, which the usual error traits ask for.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panic {
    /// Runs `f` and turns a panic into a value.
    pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
        panics::catch_payload(f).map_err(Panic::caught)
    }

    /// Takes a payload that `catch_unwind` just returned on this thread.
    #[cold]
    pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Panic {
        Panic(Box::new(Caught {
            message: panics::message(&*payload),
            location: panics::take_location(),
            payload: Mutex::new(payload),
        }))
    }

    pub(crate) fn from_message(message: String) -> Panic {
        let payload = Mutex::new(Box::new(message.clone()) as Box<_>);
        Panic(Box::new(Caught { payload, message, location: None }))
    }

    /// Returns what the panic said, if it was text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns where it happened, as `file:line:column`, if matou's panic hook saw it.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// Returns what was thrown, for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.payload.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
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
        match self.location() {
            Some(location) => write!(f, "the task panicked at {location}: {}", self.message()),
            None => write!(f, "the task panicked: {}", self.message()),
        }
    }
}

impl Error for Panic {}
