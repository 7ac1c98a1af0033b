use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::{OwnerInfo, ResourceInfo};

/// Why a resource could not be used, moved or left.
///
/// # Examples
///
/// ```
/// use matou_ownership::{AccessError, Owned, check, release};
///
/// let owned = Owned::new(1, drop);
/// release(&owned);
/// assert!(matches!(check(&owned), Err(AccessError::Finalized(_))));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub enum AccessError {
    /// It belongs to another task.
    NotOwner(NotOwner),
    /// Its finalizer has run, or has begun to.
    Finalized(ResourceInfo),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::NotOwner(fault) => fault.fmt(f),
            AccessError::Finalized(resource) => write!(f, "{resource} is finalized already"),
        }
    }
}

impl Error for AccessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AccessError::NotOwner(fault) => Some(fault),
            AccessError::Finalized(_) => None,
        }
    }
}

/// A resource was used by a task that does not own it.
#[derive(Clone, Debug)]
pub struct NotOwner {
    /// What was used.
    pub resource: ResourceInfo,
    /// Who owns it (or sent it on its way), if that task has a label.
    pub owner: Option<OwnerInfo>,
    /// Whether the owner has [transferred](crate::transfer) it, so that it is on its way to the
    /// owner's parent.
    pub in_transit: bool,
    /// The line that used it.
    pub used_at: &'static Location<'static>,
}

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotOwner { resource, owner, in_transit, used_at } = self;
        write!(f, "{resource} was used at {used_at} by a task that does not own it: it ")?;
        f.write_str(if *in_transit { "is on its way to the parent of " } else { "belongs to " })?;
        match owner {
            Some(owner) => owner.fmt(f)?,
            None => f.write_str("another task")?,
        }
        if *in_transit {
            f.write_str("; transfer it after its last use, or do not transfer it at all")
        } else {
            f.write_str(
                "; `give` it when the user is spawned, or move the handle instead of sharing it",
            )
        }
    }
}

impl Error for NotOwner {}
