#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn)]

mod abandon;
mod blocking;
mod coop;
mod diagnostic;
mod domain;
mod driver;
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
pub mod signal;
mod signal_table;
mod simulation;
mod source_line;
mod spawn;
mod sys;
mod task;
pub mod test;
mod time;
mod timer_queue;
mod waker_set;

pub use abandon::abandon;
pub use blocking::Stop;
pub use coop::{poll_proceed, yield_now};
pub use diagnostic::{
    Ancestor, ChildInfo, ChildState, CycleMember, Diagnostic, DroppedWhen, Finding, Report,
    TaskInfo, Violation,
};
pub use domain::{Forgotten, Leaks, Violations};
pub use driver::{
    Direction, Driver, Interest, ParkTimeout, PollMode, Poller, Reactor, Readiness, Registration,
    Token, Unpark,
};
pub use io_source::{IoSource, IoWait};
pub use join::{Orphans, Promise, TryNext, await_all, await_first, await_one};
pub use outcome::{Outcome, Panic, TaskError};
pub use race::race;
pub use run::{Builder, MainError, RunError, live_tasks, run};
pub use spawn::{
    AtCapacity, NoDomainAvailable, SendSpawner, Spawner, SubmitError, Task, TaskInto, blocking,
    call, cancelled, defer, parallel, shield, spawn, try_blocking, try_call, try_shield, try_spawn,
};
pub use sys::{BorrowedSource, OwnedSource};
pub use task::{BlockedOn, Cancelled, Cause, TaskId, WaitSite, WaitTarget};
pub use time::{Elapsed, deadline, now, remaining, sleep, sleep_until, timeout};
pub use waker_set::{WakerKey, WakerSet};

/// The named futures that the functions of this crate return.
pub mod futures {
    pub use crate::abandon::Abandon;
    pub use crate::coop::YieldNow;
    pub use crate::join::{AwaitAll, AwaitFirst, AwaitOne, Cancel, Next, NextOrPending};
    pub use crate::race::Race;
    pub use crate::spawn::{CancelledWait, Parallel, Shield};
    pub use crate::time::{Deadline, Sleep, Timeout};
}

#[doc(no_inline)]
pub use matou_ownership::{disown, transfer};
