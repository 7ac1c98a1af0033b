use std::error::Error;
use std::fmt;

use crate::error::{AccessError, NotOwner};
use crate::info::ResourceInfo;

/// The value of an [`Owned`](crate::Owned) could not be borrowed or taken.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, OwnedError};
///
/// let owned = Owned::new(1, drop);
/// let guard = owned.get()?;
/// assert!(matches!(owned.get(), Err(OwnedError::Borrowed(_))));
/// drop(guard);
/// assert!(owned.get().is_ok());
/// # Ok::<(), OwnedError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OwnedError {
    /// Another task owns the value.
    NotOwner(NotOwner),
    /// The finalizer of the value has started or has completed.
    Finalized(ResourceInfo),
    /// A guard of the value is alive. Waiting for it would be a deadlock, because the current task
    /// usually holds it.
    Borrowed(ResourceInfo),
}

impl From<AccessError> for OwnedError {
    fn from(error: AccessError) -> OwnedError {
        match error {
            AccessError::NotOwner(error) => OwnedError::NotOwner(error),
            AccessError::Finalized(resource) => OwnedError::Finalized(resource),
        }
    }
}

impl fmt::Display for OwnedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedError::NotOwner(error) => error.fmt(f),
            OwnedError::Finalized(resource) => write!(f, "{resource} is finalized already"),
            OwnedError::Borrowed(resource) => {
                write!(f, "{resource} is borrowed already: drop the guard before the next `get`")
            }
        }
    }
}

impl Error for OwnedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OwnedError::NotOwner(error) => Some(error),
            OwnedError::Finalized(_) | OwnedError::Borrowed(_) => None,
        }
    }
}
