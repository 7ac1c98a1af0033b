#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn)]

mod abandon;
mod blocking;
mod both;
mod coop;
mod diagnostic;
mod domain;
mod domains;
mod driver;
mod either;
mod error_chain;
mod host;
mod io_source;
mod join;
mod locks;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
mod outcome;
mod panics;
mod race;
mod random;
mod run;
mod select;
pub mod signal;
mod signal_table;
mod simulation;
mod source_line;
mod spawn;
mod sys;
mod task;
mod task_local;
mod task_scope;
pub mod test;
mod time;
mod timer_queue;
mod waker_set;

pub use abandon::abandon;
pub use blocking::Stop;
pub use both::both;
pub use coop::{poll_proceed, yield_now};
pub use diagnostic::{
    Ancestor, ChildInfo, ChildState, CycleMember, Diagnostic, DroppedWhen, Finding, Report,
    TaskInfo, Violation,
};
pub use domain::{Forgotten, Leaks, Violations};
pub use domains::{TickHook, current_domain, domain_count, domain_load, tick_hook};
pub use driver::{
    Direction, Driver, Interest, ParkTimeout, PollMode, Poller, Reactor, Readiness, Registration,
    Token, Unpark,
};
pub use either::Either;
pub use io_source::{IoSource, IoWait};
pub use join::{JoinHandle, Orphans, Promise, TryNext, await_all, await_first, await_one};
pub use outcome::{Outcome, Panic, TaskError};
pub use race::{race, race_all, race_either};
pub use run::{Builder, MainError, RunError, Runtime, RuntimeHandle, grace, live_tasks, run};
pub use spawn::{
    AtCapacity, NoDomainAvailable, SendSpawner, Spawner, SubmitError, Task, TaskInto, blocking,
    call, cancelled, daemon, defer, parallel, shield, spawn, try_blocking, try_call, try_parallel,
    try_shield, try_spawn,
};
pub use sys::{BorrowedSource, OwnedSource};
pub use task::{BlockedOn, Cancelled, Cause, TaskId, TaskIdentity, WaitSite, WaitTarget};
pub use task_local::TaskLocal;
pub use task_scope::{
    AllSucceed, Collect, FirstSuccess, ScopePolicy, ScopeSpawner, task_scope, task_scope_with,
};
pub use time::{Elapsed, deadline, now, remaining, sleep, sleep_until, timeout};
pub use waker_set::{WakerKey, WakerSet};

/// The named futures that the functions of this crate return.
pub mod futures {
    pub use crate::abandon::Abandon;
    pub use crate::both::Both;
    pub use crate::coop::YieldNow;
    pub use crate::join::{AwaitAll, AwaitFirst, AwaitOne, Cancel, Next, NextOrPending};
    pub use crate::race::{Race, RaceAll, RaceEither};
    pub use crate::spawn::{CancelledWait, Parallel, Shield, SpawnWhenFree, TryParallel};
    pub use crate::task_local::LocalScope;
    pub use crate::task_scope::{TaskScope, TaskScopeWith};
    pub use crate::time::{Deadline, Sleep, Timeout};
}

/// The parts of which the macros of this crate consist. Not a part of the public interface.
#[doc(hidden)]
pub mod __macros {
    pub use crate::both::{End, Join, Part, Parts, TryJoin, TryParts, join, part, try_join};
    pub use crate::select::{
        Branch, BranchPoll, Branches, NoBranch, Order, Select, branch, no_branch_left, select,
    };
}

#[doc(no_inline)]
pub use matou_ownership::{disown, transfer};
