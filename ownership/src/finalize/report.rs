use std::fmt;

use crate::info::{OwnerInfo, ResourceInfo};
use crate::registry::{Detached, Ledger};

/// The result of [finalizing](crate::Ledger::finalize_all) a ledger.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FinalizeReport {
    /// The resources that were finalized, in the order in which their finalizers started.
    pub finalized: Vec<ResourceInfo>,
    /// The resources of `finalized` that were owned when finalization began, and whose handle was
    /// not dropped before.
    pub leaked: Vec<Leak>,
    /// The resources whose finalizers panicked, with the panic messages. This includes finalizers
    /// that ran earlier, on a thread that was panicking already.
    pub panicked: Vec<(ResourceInfo, String)>,
    /// The resources of `finalized` whose asynchronous finalizers were dropped before they
    /// completed.
    pub unfinished: Vec<ResourceInfo>,
}

/// A resource that was finalized although its handle was not dropped.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, scope};
///
/// let outcome = futures::executor::block_on(scope(async {
///     std::mem::forget(Owned::new(1, drop));
/// }));
/// let error = outcome.expect_err("the value was leaked");
/// let leak = &error.leaked()[0];
/// assert_eq!(leak.resource.made_at.file(), file!());
/// assert!(leak.first_owner.is_some() && !leak.given);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leak {
    /// The resource.
    pub resource: ResourceInfo,
    /// The first owner of the resource, if that task is described.
    pub first_owner: Option<OwnerInfo>,
    /// The last owner that used the resource, if that task is described.
    pub last_owner: Option<OwnerInfo>,
    /// `true` if the last owner was [given](crate::give()) the resource.
    pub given: bool,
}

impl Leak {
    /// Describes a resource that was `detached` from `ledger` to be finalized.
    pub(super) fn new(resource: ResourceInfo, detached: &Detached, ledger: &Ledger) -> Leak {
        let owner = |outlived: Option<&Ledger>| outlived.unwrap_or(ledger).owner().cloned();
        Leak {
            resource,
            first_owner: owner(detached.first_owner.as_deref()),
            last_owner: owner(detached.last_owner.as_deref()),
            given: detached.given,
        }
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource.fmt(f)
    }
}
