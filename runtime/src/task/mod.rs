//! Tasks: what they are made of, how they live and how they end.

mod arena;
mod blocked_on;
mod builder;
mod cancel_reason;
mod cold;
mod deferred;
mod future;
mod id;
mod node;
mod option_cell;
mod outcome;
pub(crate) mod panics;
pub(crate) mod raw;
mod shield;
mod spawn;
mod tree;

pub use blocked_on::{BlockedOn, WaitSite, WaitTarget};
pub use builder::{AtCapacity, Task, TaskInto};
pub use cancel_reason::Cancelled;
pub use deferred::defer;
pub use id::TaskId;
pub use outcome::{Outcome, Panic, TaskError};
pub use shield::{CancelledWait, Shield, cancelled, shield, try_shield};
pub use spawn::{NoDomainAvailable, Parallel, call, parallel, spawn, try_call, try_spawn};

pub(crate) use cancel_reason::{CancelKind, CancelReason, TaskRef};
pub(crate) use cold::{ColdState, ShieldState, TaskDeadline};
pub(crate) use deferred::LocalFuture;
pub(crate) use future::{MayFail, TaskFuture};
pub(crate) use id::IdHasher;
pub(crate) use node::{
    HandleState, NIL, Node, NodeKey, Parent, RunState, Slot, SpawnParams, Stage, TaskMeta,
};
pub(crate) use spawn::{OutcomeHandle, spawn_signal_handler};
pub(crate) use tree::{CancelAction, Completion, CompletionNotice, TaskTree};
