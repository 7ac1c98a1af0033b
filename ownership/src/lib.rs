//! Each resource has one owner, and its finalizer runs however the owner ends.
//!
//! Rust's `Drop` runs when a value goes out of scope. It does not run for a value that is stored in
//! a `static`, is part of a cycle of `Arc`s, or was passed to `mem::forget`; it cannot wait; and it
//! reports nothing. matou-ownership keeps a ledger of the resources that each task owns. When a
//! task ends, the resources that outlive it pass to its parent, and when the last task ends, the
//! remaining ones are finalized, newest first and exactly once. Finalizers can be asynchronous, and
//! each leak is reported with the source location that created the resource.
//!
//! ```rust
//! use matou_ownership::{Owned, scope};
//! use std::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! let outcome = futures::executor::block_on(scope(async move {
//!     let lock_file = Owned::new("server.pid", move |path| sender.send(path).unwrap());
//!     std::mem::forget(lock_file);
//!     // The task ends here without having released its lock file.
//! }));
//!
//! // The finalizer has run, and the scope reports the leak.
//! assert_eq!(receiver.recv(), Ok("server.pid"));
//! let error = outcome.unwrap_err();
//! assert!(error.to_string().starts_with("&str #"));
//! assert!(error.to_string().contains("was still owned when its scope ended"));
//! ```
//!
//! # The rules
//!
//! * A resource has at most one owner, which is a task. The task that [creates](own()) it owns it.
//! * **Moving a handle moves the ownership.** A task that uses a resource by value or by `&mut`
//!   [becomes its owner](adopt()). Dropping a handle [releases](release()) the resource: its
//!   finalizer runs at once, or, if it is asynchronous, at the owner's end.
//! * **A handle may outlive its owner.** If it is still alive when the owner ends, normally or not,
//!   the owner's parent inherits the resource, and the next task that uses it becomes its owner. So
//!   handles can be returned, sent through channels and split between tasks. Once its handle is
//!   dropped, the finalizer runs without waiting for the parent's end.
//! * **Sharing does not move the ownership.** A task may use a resource by shared reference only if
//!   it [owns](check()) it; if the resource is unowned or inherited, the task becomes its owner.
//!   Otherwise the use is a [`NotOwner`] error, which ends the task. To share a resource with a new
//!   task, [give](give()) it to that task when it is spawned.
//! * A task that was *given* a resource must [`transfer`], [`disown`] or release it before it ends
//!   normally; otherwise it leaks.
//! * [`transfer`] makes the parent the owner when the current task ends, and [`disown`] makes a
//!   resource unowned: the next task that uses it becomes its owner.
//! * A resource that is still alive when a task without a parent ends, or that leaks, is finalized
//!   and reported. When a task ends abnormally (by a panic, a `NotOwner` error or a cancellation),
//!   the resources that it was given are finalized, and that is no leak.
//!
//! # The parts
//!
//! Most programs need only [`scope()`] and [`Owned`]. [`scope()`] runs a future as a task under any
//! executor; [`Owned`] is a value with a finalizer.
//!
//! Authors of handles, such as sockets, implement [`Resource`] and [`ResourceHandle`]. They call
//! [`own()`] when a handle is created, [`check`] or [`adopt`] when it is used, and [`release`] when
//! it is dropped.
//!
//! Authors of runtimes create a [`Ledger`] for each task, [`enter`] it around each poll, and look
//! for a [`NotOwner` error](Ledger::take_not_owner) after the poll. Once the task's future is
//! dropped, they [leave](Ledger::leave_to_parent) what outlives it to the parent, which
//! [receives](Ledger::receive) it, and [finalize](Ledger::finalize_all) the rest.
//!
//! # Guarantees
//!
//! * A finalizer is called at most once, and no lock of this crate is held during the call. It is
//!   called exactly once if the owner's ledger is finalized or the handle is dropped, unless the
//!   value is [taken out](Owned::into_inner) before.
//! * A finalizer can use and drop resources, but it cannot create resources or change their owner.
//! * A panic of a finalizer does not prevent other finalizers from running.
//! * Checking the use of an owned resource takes one load and one compare. Every other operation is
//!   O(1) per resource, takes at most two short locks at a time, and allocates only when a ledger
//!   grows. The memory of a ledger is bounded by the number of resources that it held at the same
//!   time.
//! * All types except [`EnterGuard`] can be used from any thread.
//!
//! # Comparison
//!
//! Plain `Drop` is enough if a value cannot outlive its task, and `scopeguard`-like guards are
//! enough if the finalizer belongs to a block instead of a task. The rules are those of [Miou],
//! with two differences: in Miou each resource is attached and checked explicitly, and a task that
//! returns must have released or transferred what it owns; here a move is enough for both.
//!
//! [Miou]: https://github.com/robur-coop/miou

#![forbid(unsafe_code)]

mod background;
mod context;
mod enter;
mod error;
mod finalize;
mod held_locks;
mod ids;
mod info;
mod linked_slab;
mod ops;
mod owned;
mod panic_message;
mod primitives;
mod registry;
mod release;
mod scope;

pub use context::{
    current_ledger, has_ledger, in_finalizer, in_task, take_ledger_flag, take_not_owner,
};
pub use enter::{EnterGuard, enter};
pub use error::{AccessError, NotOwner};
pub use finalize::{FinalizeAll, FinalizeReport, Leak};
pub use ids::replace_id_source;
pub use info::{OwnerInfo, ResourceInfo};
pub use ops::{adopt, check, check_at, disown, give, give_at, own, transfer};
pub use owned::{Owned, OwnedError, OwnedMut, OwnedRef, Release};
pub use registry::{FinalizeStatus, FinalizerService, Ledger, Resource, ResourceHandle, Ticket};
pub use release::{defer, release};
pub use scope::{Scope, ScopeError, scope};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
