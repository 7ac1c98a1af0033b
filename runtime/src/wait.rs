//! What a suspended task waits for, so that a report need not poll anything.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::time::Instant;

use crate::TaskId;
use crate::domain::Domain;

/// What a task waits for: a word, the line that waits, and the thing waited for.
///
/// Leaf futures write it once, when they suspend; see [`Wait::note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// What is waited for, in a word: `"sleep"`, `"promise"`, `"read"`; empty if unknown.
    pub what: &'static str,
    /// The line of the program that waits.
    pub at: Option<&'static Location<'static>>,
    /// The thing that is waited for.
    pub on: WaitOn,
}

/// The thing that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOn {
    /// Not known.
    Unknown,
    /// A child. A promise is a future, and nothing tells a future which line awaits it; so the line
    /// that made the child stands for it.
    Task {
        /// The child.
        id: TaskId,
        /// The line that made it.
        made_at: &'static Location<'static>,
    },
    /// Any of several promises.
    Promises,
    /// Any of the children in a collector, by its number on its domain.
    Collector(u32),
    /// A descriptor, by its number.
    Descriptor(i32),
    /// A moment.
    Until(Instant),
    /// A lock, by the number that a [simulated](crate::test) run gave it; 0 in other runs.
    Lock(u64),
}

impl Wait {
    pub(crate) const NOTHING: Wait = Wait { what: "", at: None, on: WaitOn::Unknown };

    /// Describes a wait.
    pub fn new(what: &'static str, at: &'static Location<'static>, on: WaitOn) -> Wait {
        Wait { what, at: Some(at), on }
    }

    /// Notes what the current task waits for. For leaf futures, right before they return
    /// `Pending`; outside a run nothing happens.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::panic::Location;
    /// use matou_runtime::{Wait, WaitOn};
    ///
    /// Wait::new("a reply", Location::caller(), WaitOn::Unknown).note();
    /// ```
    pub fn note(self) {
        Domain::try_with(|domain| domain.note_wait(self));
    }
}

/// The wait of a task, as its node keeps it: field by field, as it is written much more often than
/// read.
pub(crate) struct Noted {
    what: Cell<&'static str>,
    at: Cell<Option<&'static Location<'static>>>,
    on: Cell<WaitOn>,
}

impl Noted {
    pub(crate) fn nothing() -> Noted {
        let Wait { what, at, on } = Wait::NOTHING;
        Noted { what: Cell::new(what), at: Cell::new(at), on: Cell::new(on) }
    }

    #[inline]
    pub(crate) fn set(&self, wait: Wait) {
        self.what.set(wait.what);
        self.at.set(wait.at);
        self.on.set(wait.on);
    }

    #[inline]
    pub(crate) fn clear(&self) {
        self.what.set("");
    }

    pub(crate) fn get(&self) -> Wait {
        match self.what.get() {
            "" => Wait::NOTHING,
            what => Wait { what, at: self.at.get(), on: self.on.get() },
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            return f.write_str("something that matou does not know");
        }
        f.write_str(self.what)?;
        match self.on {
            WaitOn::Unknown | WaitOn::Until(_) | WaitOn::Lock(0) => {}
            WaitOn::Promises | WaitOn::Collector(_) => {}
            WaitOn::Lock(number) => write!(f, " {number}")?,
            WaitOn::Task { id, made_at } => write!(f, " of task {id} (made at {made_at})")?,
            WaitOn::Descriptor(fd) => write!(f, " on descriptor {fd}")?,
        }
        match self.at {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}
