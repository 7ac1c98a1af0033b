//! What happened in a run of a program, in order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use matou_runtime::TaskId;

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
    Saw {
        child: usize,
        what: Seen,
    },
    Owned {
        job: usize,
        resource: usize,
    },
    Given {
        child: usize,
        resource: usize,
    },
    Transferred {
        parent: usize,
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
    Broken {
        job: usize,
        rule: Rule,
    },
}

/// The events of a run.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Event>>>);

impl Record {
    pub(crate) fn add(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}
