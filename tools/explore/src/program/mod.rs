//! Random programs: trees of jobs, each a list of steps and the way it ends.
//!
//! `generate` creates the program of a seed, and `interpreter` runs it. The steps are implemented
//! in `children`, `groups`, `races`, `resources`, `waiting`, `primitives`, `outside` and `unix`.

mod children;
mod environment;
mod generate;
mod groups;
mod interpreter;
mod outside;
mod primitives;
mod races;
mod resources;
mod unix;
mod waiting;

use std::sync::Arc;

use crate::event::Target;
use primitives::PrimitiveStep;

pub(crate) use environment::{Environment, capacity};
pub(crate) use generate::{PERMITS, generate};
pub(crate) use interpreter::main;
pub(crate) use primitives::{BARRIER_SIZE, LATCHED, SIGNALS_MAX};
pub(crate) use races::RaceKind;
pub(crate) use unix::UnixKind;

/// A node of a program's tree, which is run as a task.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
    /// Resources of the job that it transfers to its parent before it returns a value.
    pub(crate) transfers: Vec<usize>,
    /// A resource of its parent that the job uses without being the owner, a violation.
    pub(crate) foreign_use: Option<usize>,
    /// Whether the job returns a value without releasing its resources, a violation.
    pub(crate) leaks: bool,
    /// Whether the job must not leave resources behind, whatever the settings of the run.
    pub(crate) strict_resources: bool,
}

/// How a job ends, unless it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Value,
    Error,
    Panic,
    /// It stays pending until it is cancelled.
    Pending,
}

/// The domain on which a child is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Local,
    Remote,
}

/// How a job gives a child up, which violates no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// It abandons the promise at once.
    AtOnce,
    /// It polls the promise, and drops it.
    Polled,
    /// It drops the promise without having polled it, in a later poll.
    Later,
    /// Another task abandons it, on another domain.
    Elsewhere,
}

/// How a job goes on after it has set a future aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It drops the future.
    Drop,
    /// It awaits the future.
    Resume,
    /// It awaits another acquisition of the same lock or value first.
    Again,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) placement: Placement,
    /// A resource of the parent that is given to the child.
    pub(crate) given: Option<usize>,
    pub(crate) job: Arc<Job>,
}

/// A step of a job. Durations are in milliseconds.
#[derive(Debug)]
pub(crate) enum Step {
    /// Lets other tasks run.
    Yield,
    /// Sleeps for a number of milliseconds.
    Sleep(u64),
    /// Spawns a child, which a later step awaits or cancels.
    Spawn(Child),
    /// Awaits a child that an earlier step spawned.
    Await(usize),
    /// Cancels a child that an earlier step spawned, and awaits its completion.
    Cancel(usize),
    /// Spawns a child and drops its promise.
    Forget(Child),
    /// Spawns a child and leaks its promise.
    Leak(Child),
    /// Spawns a child, and drops its promise as one that is given up.
    GiveUp { child: Child, how: GiveUp },
    /// Awaits all children with `await_all`.
    AwaitAll(Vec<Child>),
    /// Awaits the first of the children with `await_first`.
    AwaitFirst(Vec<Child>),
    /// Awaits the children with `await_one`, until all are complete.
    AwaitOne(Vec<Child>),
    /// Awaits the children as a group.
    Orphans(Vec<Child>),
    /// Awaits a child with a timeout.
    Timeout(u64, Child),
    /// Awaits a child with a deadline, which applies to its descendants as well.
    Deadline(u64, Child),
    /// Awaits a shielded job for a limited time. It may run for `limit` after a cancel request.
    Shield { timeout: u64, limit: u64, job: Arc<Job> },
    /// Creates a resource, whose finalizer is a future if it is asynchronous.
    Own { resource: usize, is_async: bool },
    /// Accesses a resource of the job by a shared reference.
    Use(usize),
    /// Creates a resource and sends its handle to a mailbox of all jobs.
    Post { resource: usize, is_async: bool },
    /// Takes a handle from the mailbox, if there is one. Becomes its owner or not, sleeps for a
    /// number of milliseconds, and drops it.
    Take { becomes_owner: bool, millis: u64 },
    /// Finalizes a resource of the job.
    Release(usize),
    /// Defers a future with this number until the job completes.
    Defer(usize),
    /// Holds a lock while sleeping for a number of milliseconds.
    Lock { lock: usize, millis: u64 },
    /// Polls a future that waits for the target, sets it aside while sleeping if it has to wait,
    /// and then goes on with it or not. `value` is the value that a push pushes.
    SetAside { target: Target, value: usize, polls: u32, millis: u64, then: Then },
    /// Pushes a value to a queue, with a timeout.
    Push { queue: usize, value: usize, timeout: u64 },
    /// Pops a value from a queue, with a timeout.
    Pop { queue: usize, timeout: u64 },
    /// Holds so many permits of the semaphore for a number of milliseconds, if it gets them before
    /// the timeout.
    Acquire { amount: usize, millis: u64, timeout: u64 },
    /// Awaits a blocking job with a timeout. It looks at its stop flag so many times, or until it
    /// is asked to stop.
    Blocking { looks: Option<usize>, timeout: u64 },
    /// Sends so many datagrams to itself.
    Datagrams(u8),
    /// Receives so many bytes or datagrams from a child over a Unix socket.
    Unix { kind: UnixKind, amount: usize },
    /// Uses a primitive.
    Primitive(PrimitiveStep),
    /// Awaits the first of two children, or a number of milliseconds, and gives the losers up.
    Race { children: [Child; 2], kind: RaceKind, millis: u64 },
    /// Submits jobs to a group by its spawner, or by a destructor that has the spawner, and awaits
    /// them.
    Submit { jobs: Vec<Arc<Job>>, by_destructor: bool },
    /// Holds the first lock, and after a number of milliseconds waits for the second.
    LockBoth { first: usize, second: usize, millis: u64 },
    /// Holds a lock while it awaits a child.
    LockAndAwait { lock: usize, child: Child },
    /// Spawns children that wait for each other in a circle, sleeps for a number of milliseconds,
    /// and cancels them.
    Circle { children: Vec<Child>, millis: u64 },
    /// Waits for the condition of a lock, with a timeout.
    Wait { lock: usize, timeout: u64 },
    /// Signals the condition of a lock.
    Signal(usize),
}

impl Step {
    /// Whether the step leaves a child behind that the job neither awaits nor cancels.
    fn leaves_child(&self) -> bool {
        matches!(self, Step::Forget(_) | Step::Leak(_))
    }
}
