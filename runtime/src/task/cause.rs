//! Failures and panics that an outcome mentions in addition to its main cause.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;
use std::io;

use crate::panics;

/// A cause of a task's abnormal end, as text: a panic, or the error that the task returned.
///
/// An outcome contains one cause as a value, the most severe one. The others are kept as text: see
/// [`TaskError::further_causes`](crate::TaskError::further_causes). A finding uses the same form
/// for the failure of a task whose outcome no task received.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{Builder, Diagnostic, Finding, RunError, spawn, try_spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new()
///     .on_report(|diagnostic| match diagnostic {
///         Diagnostic::Finding(Finding::FailureUnseen { causes, .. }) => {
///             assert_eq!(causes[0].to_string(), "it failed: the disk is full");
///         }
///         other => panic!("{other}"),
///     })
///     .run(async {
///         let parent = spawn(async {
///             let child = try_spawn(async { Err::<(), _>("the disk is full") });
///             pending::<()>().await;
///             drop(child);
///         });
///         yield_now().await;
///         yield_now().await;
///         parent.cancel().await; // the child's outcome goes with its parent
///         Ok(())
///     })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A panic.
    #[non_exhaustive]
    Panicked {
        /// The message of the panic.
        message: String,
        /// Where it happened, as `file:line:column`, if that is known.
        location: Option<String>,
    },
    /// An error that the task returned.
    #[non_exhaustive]
    Failed {
        /// The name of the error's type.
        error_type: &'static str,
        /// The text of the error, if it is a string, an [`io::Error`], or a boxed error. The text
        /// of other types is not available, because the error of a task need not implement
        /// `Display`.
        text: Option<String>,
    },
}

impl Cause {
    /// Describes the error of a task.
    pub(crate) fn failed<E: 'static>(error: &E) -> Cause {
        // The text may come from a user's `Display`.
        let text = panics::catch_payload(|| text_of(error)).unwrap_or_else(|payload| {
            panics::forget_payload(payload);
            None
        });
        Cause::Failed { error_type: type_name::<E>(), text }
    }
}

/// Returns the text of an error whose type is one of the usual ones.
fn text_of(error: &dyn Any) -> Option<String> {
    fn find<T: fmt::Display + 'static>(error: &dyn Any) -> Option<String> {
        error.downcast_ref::<T>().map(ToString::to_string)
    }
    find::<Box<dyn Error + Send + Sync>>(error)
        .or_else(|| find::<io::Error>(error))
        .or_else(|| find::<String>(error))
        .or_else(|| find::<&'static str>(error))
        .or_else(|| find::<Box<dyn Error + Send>>(error))
        .or_else(|| find::<Box<dyn Error>>(error))
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Panicked { message, location: Some(location) } => {
                write!(f, "it panicked at {location}: {message}")
            }
            Cause::Panicked { message, location: None } => write!(f, "it panicked: {message}"),
            Cause::Failed { text: Some(text), .. } => write!(f, "it failed: {text}"),
            Cause::Failed { error_type, text: None } => {
                write!(f, "it failed with an error of type `{error_type}`")
            }
        }
    }
}
