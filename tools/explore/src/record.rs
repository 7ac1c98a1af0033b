//! What happened in a run of a program, in order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use matou_runtime::{TaskId, now, test};

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    StillHasChildren,
    NotOwner,
    ResourceLeaked,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rule::StillHasChildren => "StillHasChildren",
            Rule::NotOwner => "NotOwner",
            Rule::ResourceLeaked => "ResourceLeaked",
        }
    }
}

/// What a parent saw of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Value,
    Error,
    Panic,
    Cancelled,
}

/// Numbers are those of jobs, unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The child will be born with this deadline, besides those of its ancestors.
    Limited {
        child: usize,
        end: Duration,
    },
    /// The child will be a shield that may go on for so long when its end was asked for.
    Shielded {
        child: usize,
        limit: Duration,
    },
    /// The child will race with the other ones that say so.
    Races {
        child: usize,
        race: usize,
    },
    Spawned {
        parent: usize,
        child: usize,
        /// None for main.
        task: Option<TaskId>,
    },
    Began {
        job: usize,
    },
    /// It goes on after a wait.
    Step {
        job: usize,
    },
    Returned {
        job: usize,
        how: Seen,
    },
    /// Its future is gone.
    Dropped {
        job: usize,
    },
    CancelAsked {
        child: usize,
    },
    /// The parent has the answer: a value, or none.
    CancelDone {
        child: usize,
        value: bool,
    },
    /// The parent has given it up without waiting for its end.
    GivenUp {
        child: usize,
    },
    /// The same, by dropping the promise.
    Forgotten {
        parent: usize,
        child: usize,
    },
    /// The parent waits no more for a shield.
    LetGo {
        child: usize,
    },
    Saw {
        child: usize,
        what: Seen,
    },
    /// The race is over for its parent, and the child did not win it.
    Lost {
        child: usize,
    },
    Owned {
        job: usize,
        resource: usize,
    },
    /// It used the resource through a shared reference: as its owner, or it was refused.
    Used {
        job: usize,
        resource: usize,
        as_owner: bool,
    },
    Given {
        child: usize,
        resource: usize,
    },
    Transferred {
        child: usize,
        resource: usize,
    },
    /// Its owner lets it go before its own end.
    Released {
        resource: usize,
    },
    /// A finalizer, or a deferred future, has begun.
    Begun {
        resource: usize,
    },
    Finalized {
        resource: usize,
    },
    Deferred {
        job: usize,
        resource: usize,
    },
    Locked {
        job: usize,
        lock: usize,
    },
    Unlocked {
        job: usize,
        lock: usize,
    },
    /// It stands in the line of the lock's condition.
    Waits {
        job: usize,
        lock: usize,
    },
    /// It was called, and has the lock again.
    Woken {
        job: usize,
        lock: usize,
    },
    /// It left the line, called or not.
    LeftLine {
        job: usize,
        lock: usize,
    },
    /// It left the line because its time was up.
    TimedOut {
        job: usize,
        lock: usize,
    },
    /// Somebody was called, or nobody was there.
    Signalled {
        lock: usize,
        called: bool,
    },
    Broken {
        job: usize,
        rule: Rule,
    },
}

/// An event, and how much virtual time had passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.event, self.at)
    }
}

/// The events of a run.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    begun: Option<Instant>,
    entries: Vec<Entry>,
}

impl Record {
    pub(crate) fn add(&self, event: Event) {
        // What is dropped after the run has no time of its own.
        let now = test::simulation().map(|_| now());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match (all.begun.or(now), now) {
            (Some(begun), Some(now)) => {
                all.begun = Some(begun);
                now - begun
            }
            _ => all.entries.last().map_or(Duration::ZERO, |last| last.at),
        };
        all.entries.push(Entry { at, event });
    }

    /// How much virtual time will have passed at that moment.
    pub(crate) fn until(&self, moment: Instant) -> Duration {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).begun;
        begun.map_or(Duration::ZERO, |begun| moment - begun)
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).entries)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}
