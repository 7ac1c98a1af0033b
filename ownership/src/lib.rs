//! Every resource has one owner, and its finalizer runs however the owner ends.
//!
//! Rust's `Drop` closes what goes out of scope. It does nothing for what *stays*: a value in a
//! `static`, in a cycle of `Arc`s, in `mem::forget`, or in a task that was cancelled at the wrong
//! moment; it cannot wait, and it says nothing. matou-ownership keeps, for each task, a ledger of
//! what the task owns. When the task ends, what is left is finalized, newest first and exactly
//! once, also asynchronously, and each leak is named with the line that made it.
//!
//! ```rust
//! use matou_ownership::{Owned, scope};
//! use std::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! let outcome = futures::executor::block_on(scope(async move {
//!     let lock = Owned::new("server.pid", move |path| sender.send(path).unwrap());
//!     std::mem::forget(lock);
//!     // The task ends here, and has lost its lock file.
//! }));
//!
//! assert_eq!(receiver.recv(), Ok("server.pid")); // It was removed all the same,
//! let error = outcome.unwrap_err(); // and nobody can miss it:
//! assert!(error.to_string().starts_with("&str #"));
//! assert!(error.to_string().contains("was still owned when its scope ended"));
//! ```
//!
//! # The rules
//!
//! * A resource is owned by one task at a time: by the one that [made](own()) it, until it moves.
//! * **A move is a gift.** A task that uses a resource by value or by `&mut` [becomes its
//!   owner](adopt).
//! * **Sharing is not.** To use a resource by shared reference, a task has to [own](check) it
//!   already (or nobody does, and it becomes the owner); if not, it is a [`NotOwner`] fault,
//!   which ends the task. Hence a shared resource is [given](give()) at spawn.
//! * Upwards it is said aloud: [`transfer`] hands it to the parent when the task ends.
//! * Sideways, [`disown`] lets it go, and the next user adopts it.
//! * To drop a handle is to [release](release()) the resource: its finalizer runs there and then,
//!   or, if it is asynchronous, at the owner's end.
//! * To end normally while owning a live resource is a leak: finalized, and reported.
//! * To end abnormally (by a panic, a fault, a cancellation) finalizes what is owned. That is no
//!   leak.
//!
//! # The parts
//!
//! [`scope()`] and [`Owned`] are all that most programs need. [`scope()`] runs a future as a task
//! under any executor; [`Owned`] is a value with a finalizer.
//!
//! Those who write handles of their own, such as sockets, implement [`Resource`] and [`ResourceHandle`],
//! call [`own()`] when they make one, [`check`] or [`adopt`] when it is used, and [`release`]
//! when it is dropped.
//!
//! Those who write runtimes make a [`Ledger`] for a task, [`enter`] it around each poll, look for a
//! [fault](Ledger::take_not_owner) afterwards, and [settle](Ledger::finalize_all) it when the future is gone.
//!
//! # Guarantees
//!
//! * A finalizer is called at most once, and under no lock of this crate; it is called exactly
//!   once if the owner is settled, or the handle dropped, and the value is not [taken
//!   out](Owned::into_inner).
//! * A finalizer may use resources and drop them, but not make them, nor say who owns them.
//! * A panic of one finalizer stops no other.
//! * The check of a use is a load and a compare. All else is O(1) for each resource, takes a lock
//!   or two that are held for a few instructions, and allocates nothing once the ledger has
//!   grown. An [`Owned`] that is dropped in the poll that made it, before another is made, takes
//!   no lock. A ledger's memory grows with what it holds at once, not with what it ever held.
//! * Everything but the current ledger may be used from any thread.
//!
//! # Relation to other things
//!
//! Consider plain `Drop` if a value cannot outlive its task, and `scopeguard`-like guards if the
//! finalizer belongs to a block rather than to a task. The rules are those of [Miou], with one
//! difference: there each resource is attached and checked by hand; here a move is enough.
//!
//! [Miou]: https://github.com/robur-coop/miou

#![forbid(unsafe_code)]

mod away;
mod current;
mod entries;
mod ids;
mod ledger;
mod misuse;
mod nursery;
mod owned;
#[cfg(planted)]
#[doc(hidden)]
pub mod planted;
mod resource;
mod scope;
mod settle;
mod shared;
mod sys;
mod ticket;
mod verbs;

pub use current::{
    EnterGuard, current_ledger, enter, has_ledger, in_finalizer, in_task, take_not_owner,
    take_not_owner_flag,
};
pub use ids::replace_id_source;
pub use ledger::{Ledger, OwnerInfo};
pub use misuse::{AccessError, NotOwner};
pub use owned::{Owned, OwnedError, OwnedMut, OwnedRef, Release};
pub use resource::{FinalizeStatus, Resource, ResourceHandle, ResourceInfo};
pub use scope::{Scope, ScopeError, scope};
pub use settle::{FinalizeAll, FinalizeReport};
pub use ticket::Ticket;
pub use verbs::{adopt, check, defer, disown, give, own, release, transfer};

/// Levers of the models; not part of the interface.
#[cfg(loom)]
#[doc(hidden)]
pub mod model {
    pub use crate::sys::Sabotage;
    pub use crate::sys::modelled::with_sabotage;
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
