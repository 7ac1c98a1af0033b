//! What a suspended task waits for, so that a report need not poll anything.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::time::Instant;

use crate::TaskId;
use crate::domain::Domain;

/// What a task waits for: a word, the line that waits, and the thing waited for.
///
/// Leaf futures write it once, when they suspend; see [`BlockedOn::note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedOn {
    /// What is waited for, in a word: `"sleep"`, `"promise"`, `"read"`; empty if unknown.
    pub what: &'static str,
    /// The line of the program that waits.
    pub at: Option<&'static Location<'static>>,
    /// The thing that is waited for.
    pub on: WaitTarget,
}

/// The thing that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitTarget {
    /// Not known.
    Unknown,
    /// A child. A promise is a future, and nothing tells a future which line awaits it; so the line
    /// that made the child stands for it.
    Task {
        /// The child.
        id: TaskId,
        /// The line that made it.
        spawned_at: &'static Location<'static>,
    },
    /// Any of several promises.
    AnyPromise,
    /// Any of the children in a collector, by its number on its domain.
    TaskGroup(u32),
    /// A descriptor, by its number.
    IoSource(u64),
    /// A moment.
    Deadline(Instant),
    /// A lock, by the number that a [simulated](crate::test) run gave it; 0 in other runs.
    Lock(u64),
}

impl BlockedOn {
    pub(crate) const NOTHING: BlockedOn = BlockedOn { what: "", at: None, on: WaitTarget::Unknown };

    /// Describes a wait.
    pub fn new(what: &'static str, at: &'static Location<'static>, on: WaitTarget) -> BlockedOn {
        BlockedOn { what, at: Some(at), on }
    }

    /// Notes what the current task waits for. For leaf futures, right before they return
    /// `Pending`; outside a run nothing happens.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::panic::Location;
    /// use matou_runtime::{BlockedOn, WaitTarget};
    ///
    /// BlockedOn::new("a reply", Location::caller(), WaitTarget::Unknown).note();
    /// ```
    pub fn note(self) {
        Domain::try_with(|domain| domain.set_blocked_on(self));
    }
}

/// The wait of a task, as its node keeps it: field by field, as it is written much more often than
/// read.
pub(crate) struct Noted {
    what: Cell<&'static str>,
    at: Cell<Option<&'static Location<'static>>>,
    on: Cell<WaitTarget>,
}

impl Noted {
    pub(crate) fn nothing() -> Noted {
        let BlockedOn { what, at, on } = BlockedOn::NOTHING;
        Noted { what: Cell::new(what), at: Cell::new(at), on: Cell::new(on) }
    }

    #[inline]
    pub(crate) fn set(&self, wait: BlockedOn) {
        self.what.set(wait.what);
        self.at.set(wait.at);
        self.on.set(wait.on);
    }

    #[inline]
    pub(crate) fn clear(&self) {
        self.what.set("");
    }

    pub(crate) fn get(&self) -> BlockedOn {
        match self.what.get() {
            "" => BlockedOn::NOTHING,
            what => BlockedOn { what, at: self.at.get(), on: self.on.get() },
        }
    }
}

impl fmt::Display for BlockedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            return f.write_str("an unknown event");
        }
        f.write_str(self.what)?;
        match self.on {
            WaitTarget::Unknown | WaitTarget::Deadline(_) | WaitTarget::Lock(0) => {}
            WaitTarget::AnyPromise | WaitTarget::TaskGroup(_) => {}
            WaitTarget::Lock(number) => write!(f, " {number}")?,
            WaitTarget::Task { id, spawned_at } => {
                write!(f, " of task {id} (spawned at {spawned_at})")?
            }
            WaitTarget::IoSource(number) => write!(f, " on descriptor {number}")?,
        }
        match self.at {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}
