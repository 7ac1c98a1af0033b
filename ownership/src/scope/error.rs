use std::error::Error;
use std::fmt;

use crate::error::NotOwner;
use crate::finalize::{FinalizeReport, Leak};
use crate::info::ResourceInfo;

/// A [`Scope`](crate::Scope) broke the ownership rules.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, check, scope};
/// use std::sync::Arc;
///
/// let outcome = futures::executor::block_on(scope(async {
///     let owned = Arc::new(Owned::new(1, drop));
///     let shared = Arc::clone(&owned);
///     let inner = scope(async move { shared.get().map(|value| *value) }).await;
///     inner.expect_err("the outer scope is the owner").not_owner().is_some()
/// }));
/// assert!(outcome.expect("the outer scope kept the rules"));
/// ```
#[derive(Clone)]
pub struct ScopeError {
    details: Box<Details>,
}

#[derive(Clone)]
struct Details {
    not_owner: Option<NotOwner>,
    report: FinalizeReport,
}

impl ScopeError {
    pub(super) fn new(not_owner: Option<NotOwner>, report: FinalizeReport) -> ScopeError {
        ScopeError { details: Box::new(Details { not_owner, report }) }
    }

    /// Returns the use of another task's resource that ended the scope.
    pub fn not_owner(&self) -> Option<&NotOwner> {
        self.details.not_owner.as_ref()
    }

    /// Returns the resources that the scope still owned when it ended normally. They are finalized.
    pub fn leaked(&self) -> &[Leak] {
        match self.details.not_owner {
            // A scope that ends abnormally leaks nothing.
            Some(_) => &[],
            None => &self.details.report.leaked,
        }
    }

    /// Returns the resources whose finalizers panicked, with the panic messages.
    pub fn panicked(&self) -> &[(ResourceInfo, String)] {
        &self.details.report.panicked
    }

    /// Returns the resources whose asynchronous finalizers were dropped before they completed:
    /// those started by a [`Release`](crate::Release) that was dropped, and, if no thread could be
    /// spawned, all of them.
    pub fn unfinished(&self) -> &[ResourceInfo] {
        &self.details.report.unfinished
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut sentence = |f: &mut fmt::Formatter<'_>, text: &dyn fmt::Display| {
            write!(f, "{}{text}", std::mem::replace(&mut separator, "; "))
        };
        if let Some(error) = self.not_owner() {
            sentence(f, error)?;
        }
        for resource in self.leaked() {
            sentence(
                f,
                &format_args!(
                    "{resource} was still owned when its scope ended: release it, or `transfer` it \
                     if the parent needs it"
                ),
            )?;
        }
        for (resource, message) in self.panicked() {
            sentence(f, &format_args!("the finalizer of {resource} panicked: {message}"))?;
        }
        for resource in self.unfinished() {
            sentence(f, &format_args!("the finalizer of {resource} did not complete"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { not_owner, report } = &*self.details;
        f.debug_struct("ScopeError").field("not_owner", not_owner).field("report", report).finish()
    }
}

impl Error for ScopeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.not_owner().map(|error| error as &(dyn Error + 'static))
    }
}
