//! The wait of a suspended task, stored in its node so that a report need not poll anything.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::time::Instant;

use super::TaskId;
use crate::source_line::At;

/// The place where a leaf future waits: its operation, and the line that called it.
///
/// Leaf futures create one in their `#[track_caller]` constructor and pass it on until they
/// suspend.
///
/// # Examples
///
/// ```
/// use matou_runtime::WaitSite;
///
/// let site = WaitSite::here("read");
/// assert_eq!(site.location.map(|at| at.file()), Some(file!()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitSite {
    /// The operation that waits, in a word: `"sleep"`, `"promise"`, `"read"`; empty if unknown.
    pub operation: &'static str,
    /// The line of the program that started the operation; `None` if the runtime started it.
    pub location: Option<&'static Location<'static>>,
}

impl WaitSite {
    pub(crate) const UNKNOWN: WaitSite = WaitSite::unlocated("");

    /// Describes `operation`, started at `location`.
    pub const fn new(operation: &'static str, location: &'static Location<'static>) -> WaitSite {
        WaitSite { operation, location: Some(location) }
    }

    /// Describes `operation`, started at the line that calls this function.
    #[track_caller]
    pub const fn here(operation: &'static str) -> WaitSite {
        WaitSite::new(operation, Location::caller())
    }

    /// Describes an operation of the runtime itself.
    pub(crate) const fn unlocated(operation: &'static str) -> WaitSite {
        WaitSite { operation, location: None }
    }
}

/// The wait of a suspended task: its place in the program, and its target.
///
/// A leaf future records it once, when it suspends; see [`BlockedOn::note`]. Reports of
/// [violations](crate::Violation) and of [deadlocks](crate::test::Deadlock) show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedOn {
    /// The operation that waits.
    pub site: WaitSite,
    /// The target of the wait.
    pub target: WaitTarget,
}

/// The target of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitTarget {
    /// Not known.
    Unknown,
    /// A child.
    Task {
        /// The child.
        id: TaskId,
        /// The line that spawned it.
        spawned_at: &'static Location<'static>,
    },
    /// Any of several promises.
    AnyPromise,
    /// Any child in [`Orphans`](crate::Orphans), by the number of the group on its domain.
    TaskGroup(u32),
    /// A source of I/O, by the number that the operating system gave it.
    IoSource(u64),
    /// A moment in time.
    Deadline(Instant),
    /// A lock, by the number that its domain gave it. Numbers are used again.
    Lock(u64),
    /// A queue, by the number that its domain gave it. Numbers are used again.
    Queue(u64),
}

impl BlockedOn {
    pub(crate) const UNKNOWN: BlockedOn =
        BlockedOn { site: WaitSite::UNKNOWN, target: WaitTarget::Unknown };

    /// Describes a wait for `target`.
    pub const fn new(site: WaitSite, target: WaitTarget) -> BlockedOn {
        BlockedOn { site, target }
    }
}

/// The [`BlockedOn`] of a task, as its node stores it: one cell for each field, because it is
/// written far more often than it is read.
pub(crate) struct BlockedOnCell {
    operation: Cell<&'static str>,
    location: Cell<Option<&'static Location<'static>>>,
    target: Cell<WaitTarget>,
}

impl BlockedOnCell {
    pub(crate) fn unknown() -> BlockedOnCell {
        let BlockedOn { site, target } = BlockedOn::UNKNOWN;
        BlockedOnCell {
            operation: Cell::new(site.operation),
            location: Cell::new(site.location),
            target: Cell::new(target),
        }
    }

    #[inline]
    pub(crate) fn set(&self, blocked_on: BlockedOn) {
        self.operation.set(blocked_on.site.operation);
        self.location.set(blocked_on.site.location);
        self.target.set(blocked_on.target);
    }

    /// Marks the wait as unknown. The empty operation says so; the other fields keep stale values.
    #[inline]
    pub(crate) fn clear(&self) {
        self.operation.set("");
    }

    pub(crate) fn get(&self) -> BlockedOn {
        match self.operation.get() {
            "" => BlockedOn::UNKNOWN,
            operation => {
                let site = WaitSite { operation, location: self.location.get() };
                BlockedOn { site, target: self.target.get() }
            }
        }
    }
}

impl fmt::Display for BlockedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.site.operation.is_empty() {
            return f.write_str("an unknown event");
        }
        f.write_str(self.site.operation)?;
        match self.target {
            WaitTarget::Unknown | WaitTarget::Deadline(_) => {}
            WaitTarget::AnyPromise | WaitTarget::TaskGroup(_) => {}
            WaitTarget::Lock(number) => write!(f, " {number}")?,
            WaitTarget::Queue(number) => write!(f, " on queue {number}")?,
            WaitTarget::Task { id, spawned_at } => {
                write!(f, " of task {id} (spawned at {spawned_at})")?;
            }
            WaitTarget::IoSource(number) => write!(f, " on descriptor {number}")?,
        }
        match self.site.location {
            Some(location) => At(location).fmt(f),
            None => Ok(()),
        }
    }
}
