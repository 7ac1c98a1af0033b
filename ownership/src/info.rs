//! Descriptions of resources and of their owners, for errors and reports.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Describes a resource in errors and reports.
///
/// # Examples
///
/// ```
/// let info = matou_ownership::Ticket::new("tcp stream").info();
/// assert!(info.to_string().starts_with(&format!("tcp stream #{} made at ", info.id)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The id of the resource, unique within its [id source](crate::replace_id_source).
    pub id: u64,
    /// The kind of resource, such as `"tcp stream"` or the name of the value's type.
    pub kind: &'static str,
    /// The source location that created the resource.
    pub made_at: &'static Location<'static>,
}

impl fmt::Display for ResourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{} made at {}", self.kind, self.id, self.made_at)
    }
}

/// Describes the task that a ledger belongs to, in errors and reports.
///
/// # Examples
///
/// ```
/// use matou_ownership::OwnerInfo;
/// use std::panic::Location;
///
/// let made_at = Location::caller();
/// let owner = OwnerInfo { id: 7, name: Some("client".into()), made_at };
/// assert_eq!(owner.to_string(), format!("task #7 \"client\" made at {made_at}"));
/// ```
#[derive(Clone, Debug)]
pub struct OwnerInfo {
    /// The id of the task.
    pub id: u64,
    /// The name of the task, if it has one.
    pub name: Option<Arc<str>>,
    /// The source location that spawned the task.
    pub made_at: &'static Location<'static>,
}

impl fmt::Display for OwnerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task #{}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " made at {}", self.made_at)
    }
}
