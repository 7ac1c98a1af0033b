//! Errors of using or moving a resource.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::info::{OwnerInfo, ResourceInfo};

/// A resource could not be used or moved.
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
    /// Another task owns the resource.
    NotOwner(NotOwner),
    /// The finalizer of the resource has started or has completed.
    Finalized(ResourceInfo),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::NotOwner(error) => error.fmt(f),
            AccessError::Finalized(resource) => write!(f, "{resource} is finalized already"),
        }
    }
}

impl Error for AccessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AccessError::NotOwner(error) => Some(error),
            AccessError::Finalized(_) => None,
        }
    }
}

/// A task used a resource that it does not own.
#[derive(Clone, Debug)]
pub struct NotOwner {
    /// The resource.
    pub resource: ResourceInfo,
    /// The owner, or the task that transferred the resource, if that task is described.
    pub owner: Option<OwnerInfo>,
    /// `true` if the owner has [transferred](crate::transfer()) the resource, which is now in
    /// transit to the owner's parent.
    pub in_transit: bool,
    /// The source location that used the resource.
    pub used_at: &'static Location<'static>,
}

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotOwner { resource, owner, in_transit, used_at } = self;
        write!(f, "{resource} was used at {used_at} by a task that does not own it: it ")?;
        f.write_str(if *in_transit { "is in transit to the parent of " } else { "belongs to " })?;
        match owner {
            Some(owner) => owner.fmt(f)?,
            None => f.write_str("another task")?,
        }
        f.write_str(if *in_transit {
            "; transfer it after its last use, or do not transfer it"
        } else {
            "; `give` it when its user is spawned, or move the handle instead of sharing it"
        })
    }
}

impl Error for NotOwner {}
