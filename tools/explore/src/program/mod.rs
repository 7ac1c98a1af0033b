//! Random programs: trees of jobs, each a list of steps and a way to end.

mod generate;
mod interpret;

use std::sync::Arc;

pub(crate) use generate::generate;
pub(crate) use interpret::{World, main};

/// Something that a task does: one node of a program's tree.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
    /// Resources that it makes and hands to its parent when it ends well.
    pub(crate) gifts: Vec<usize>,
    /// A resource of its parent that it uses although it was never given.
    pub(crate) misuses: Option<usize>,
    /// Whether it leaves a resource behind when it ends well.
    pub(crate) leaks: bool,
}

/// How a job ends, unless it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    Failed,
    Panicked,
    /// It waits for ever, and has to be cancelled.
    Never,
}

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    /// To another domain.
    Away,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) place: Place,
    pub(crate) given: Option<usize>,
    pub(crate) job: Arc<Job>,
}

#[derive(Debug)]
pub(crate) enum Step {
    Yield,
    /// For so many milliseconds.
    Sleep(u64),
    Spawn(Child),
    /// Awaits a child that was spawned before.
    Await(usize),
    /// Cancels a child that was spawned before, and waits for its end.
    Cancel(usize),
    /// Drops the promise of a child.
    Forget(Child),
    All(Vec<Child>),
    First(Vec<Child>),
    One(Vec<Child>),
    Orphans(Vec<Child>),
    /// Gives a child so many milliseconds.
    Timeout(u64, Child),
    /// The same, for its whole subtree.
    Deadline(u64, Child),
    /// Protects a child from a wrapper that is dropped after so many milliseconds. When its end is
    /// asked for, it may go on for so many others.
    Shield(u64, u64, Arc<Job>),
    /// Makes a resource, whose finalizer may have to wait.
    Own {
        resource: usize,
        is_async: bool,
    },
    /// Uses a resource of its own through a shared reference.
    Use(usize),
    /// Finalizes a resource of its own.
    Release(usize),
    /// Puts a future off to its end.
    Defer(usize),
    /// Holds a lock for so many yields.
    Lock(usize, u32),
    /// Waits for a condition, for so many milliseconds at most.
    Wait(usize, u64),
    Signal(usize),
}
