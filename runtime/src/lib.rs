#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn)]

mod domain;
mod driver;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
mod orphans;
mod promise;
mod race;
mod random;
mod run;
pub mod signal;
mod sys;
mod task;
pub mod test;
mod time;
mod timer_queue;
mod violation;
mod yield_now;

pub use driver::{Direction, Driver, IoSource, ParkTimeout, Reactor, Unpark};
pub use orphans::{Orphans, TryNext};
pub use promise::{Promise, await_all, await_first, await_one};
pub use race::race;
pub use run::{Builder, Forgotten, MainError, RunError, run};
pub use task::{
    AtCapacity, BlockedOn, Cancelled, NoDomainAvailable, Outcome, Panic, Task, TaskError, TaskId,
    TaskInto, WaitSite, WaitTarget, call, cancelled, defer, parallel, shield, spawn, try_call,
    try_shield, try_spawn,
};
pub use time::{Elapsed, deadline, now, remaining, sleep, sleep_until, timeout};
pub use violation::{Ancestor, ChildInfo, ChildState, Report, TaskInfo, Violation};
pub use yield_now::{poll_proceed, yield_now};

/// The named futures that the functions of this crate return.
pub mod futures {
    pub use crate::orphans::Next;
    pub use crate::promise::{AwaitAll, AwaitFirst, AwaitOne, Cancel};
    pub use crate::race::Race;
    pub use crate::task::{CancelledWait, Parallel, Shield};
    pub use crate::time::{Deadline, Sleep, Timeout};
    pub use crate::yield_now::YieldNow;
}

#[doc(no_inline)]
pub use matou_ownership::{disown, transfer};
