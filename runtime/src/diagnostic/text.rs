//! Parts of the text of a diagnostic.

use std::fmt;

/// The most ancestors, and the most children, that a diagnostic names.
pub(super) const NAMED_MAX: usize = 16;

pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> (usize, &'static str) {
    (count, if count == 1 { one } else { many })
}

pub(super) fn list(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    items: &[impl fmt::Display],
) -> fmt::Result {
    for item in items.iter().take(NAMED_MAX) {
        writeln!(f, "  = {what}: {item}")?;
    }
    match items.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => writeln!(f, "  = .. and {more} more"),
    }
}

/// Describes the owner of a resource.
pub(super) fn owner_title(owner: &matou_ownership::OwnerInfo) -> String {
    match &owner.name {
        Some(name) => format!("task `{name}`, spawned at {}", owner.made_at),
        None => format!("a task spawned at {}", owner.made_at),
    }
}
