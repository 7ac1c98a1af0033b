//! Tasks: what they are made of, how they live and how they end.

pub(crate) mod address;
mod builder;
mod id;
mod life;
mod node;
mod outcome;
pub(crate) mod panics;
mod spawn;
mod tree;

pub use builder::{Full, Task, TaskInto};
pub use id::TaskId;
pub use outcome::{Cancelled, Outcome, Panic, TaskError};
pub use spawn::{NoDomainAvailable, Parallel, call, parallel, spawn, try_call, try_spawn};

pub(crate) use life::Fallible;
pub(crate) use node::{About, Claim, Key, NONE, Node, Parent, Slot, Stage};
pub(crate) use outcome::Why;
pub(crate) use spawn::{Handle, allocate, spawn_service};
pub(crate) use tree::{End, Notice, Request, Tree};
