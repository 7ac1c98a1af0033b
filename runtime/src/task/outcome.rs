use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Mutex;

use super::cancel_reason::Cancelled;
use crate::panics;

/// The result of a child, as its parent receives it.
pub type Outcome<T, E = Infallible> = Result<T, TaskError<E>>;

/// Why a task did not return a value.
///
/// `E` is the error type of a task spawned by [`try_spawn`](crate::try_spawn) or
/// [`try_call`](crate::try_call). A task spawned by [`spawn`](crate::spawn) has none.
#[doc(alias = "JoinError")]
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

    /// Returns the task's own error if it returned one.
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

// The task's own error is not the source: the text contains it already. And without the bound
// `E: Error`, a `TaskError<Box<dyn Error + Send + Sync>>` can be returned with `?`.
impl<E: fmt::Debug + fmt::Display> Error for TaskError<E> {}

/// A panic of a task, caught by the runtime.
// Boxed, because every outcome has room for one and hardly any has one.
pub struct Panic(Box<Caught>);

struct Caught {
    message: String,
    location: Option<String>,
    /// In a mutex so that the error is `Sync`, as `Box<dyn Error + Send + Sync>` requires.
    payload: Mutex<Box<dyn Any + Send>>,
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
            payload: Mutex::new(payload),
        }))
    }

    pub(crate) fn from_message(message: String) -> Panic {
        let payload = Mutex::new(Box::new(message.clone()) as Box<_>);
        Panic(Box::new(Caught { payload, message, location: None }))
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

    /// Returns the payload, for [`std::panic::resume_unwind`].
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
