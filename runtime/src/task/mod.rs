//! Tasks as data: identifiers, cancel reasons, and the nodes of a domain's task tree.
//!
//! Nothing in this folder depends on domains or on the scheduler. [`raw`] is the allocation of a
//! task with its reference count and wakers; it reaches the scheduler through one trait,
//! [`raw::Schedule`].

mod arena;
mod blocked_on;
mod cancel_reason;
mod cause;
mod cold;
mod id;
mod identity;
mod key;
mod locals;
mod node;
mod option_cell;
pub(crate) mod probe;
pub(crate) mod raw;
mod tree;
pub(crate) mod wait_targets;

pub use blocked_on::{BlockedOn, WaitSite, WaitTarget};
pub use cancel_reason::Cancelled;
pub use cause::Cause;
pub use id::TaskId;
pub use identity::TaskIdentity;

pub(crate) use cancel_reason::{CancelKind, CancelReason, TaskRef};
pub(crate) use cold::{ColdState, ShieldState, TaskDeadline, TimeLimit};
pub(crate) use id::IdHasher;
pub(crate) use identity::Subject;
pub(crate) use key::{KeyBase, key_home, task_id};
pub(crate) use locals::Locals;
pub(crate) use node::{
    HandleState, LeakRule, NIL, Node, NodeKey, Parent, RunState, Slot, SpawnParams, Stage, TaskMeta,
};
pub(crate) use tree::{CancelAction, Completion, CompletionNotice, FastCompletion, TaskTree};
