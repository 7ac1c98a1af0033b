//! Tasks: what they are made of, how they live and how they end.

mod builder;
mod cancelled;
pub(crate) mod cell;
mod deferred;
mod id;
mod life;
mod node;
mod nodes;
mod outcome;
pub(crate) mod panics;
mod pocket;
mod rare;
mod shield;
mod spawn;
mod tree;

pub use builder::{Full, Task, TaskInto};
pub use cancelled::Cancelled;
pub use deferred::defer;
pub use id::TaskId;
pub use outcome::{Outcome, Panic, TaskError};
pub use shield::{CancelledWait, Shield, cancelled, shield, try_shield};
pub use spawn::{NoDomainAvailable, Parallel, call, parallel, spawn, try_call, try_spawn};

pub(crate) use cancelled::{Actor, Reason, Why};
pub(crate) use deferred::LocalFuture;
pub(crate) use id::IdHasher;
pub(crate) use life::{Fallible, Life};
pub(crate) use node::{About, Claim, Dowry, Key, NONE, Node, Parent, Sched, Slot, Stage};
pub(crate) use rare::{Limit, Rare, Shielding};
pub(crate) use spawn::{Handle, spawn_service};
pub(crate) use tree::{End, Notice, Request, Tree};
