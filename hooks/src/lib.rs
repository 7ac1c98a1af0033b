//! The interface between synchronization primitives and the runtime that polls their users.
//!
//! A primitive, such as a mutex, calls the functions of this crate. A runtime implements [`Host`]
//! and installs itself by [`set_host`]. Neither knows the other, and a process has one host, so all
//! primitives of a program report to it, also if two versions of one crate are linked.
//!
//! | the primitive | calls |
//! | --- | --- |
//! | begins an operation | [`begin_operation`], or [`poll_budget`] and [`current_task`] |
//! | is about to return `Pending` | [`on_wait`] |
//! | was acquired while other tasks wait for it | [`on_acquire`] |
//! | was released while other tasks wait for it | [`on_release`] |
//! | wakes one waiter and reserves something for it | [`on_offer`] |
//! | polls or drops a waiter for which something is reserved | [`close_offer`] |
//!
//! Without a host each function costs a load and a branch. On a thread that runs no task of the
//! host, the host answers as if there were none.
//!
//! # For authors of runtimes
//!
//! Call [`replace_current`] before each poll of a task, and [`leave_task`] after it. So the two
//! questions of each operation, which task begins it and whether it may, are answered by variables
//! of the thread. The methods of [`Host`] are called when a task has to wait. Only the host gives
//! its tasks [keys](TaskKey): those of another runtime could be the same numbers.
//!
//! # For authors of primitives
//!
//! Call [`begin_operation`] in the first poll of an operation only. A waiter that was woken must be
//! able to take what it was woken for, also if the budget is spent.
//!
//! Call the functions whose names begin with `on_` while no lock of the primitive is held.
//!
//! ```
//! use std::panic::Location;
//! use std::task::{Context, Poll, ready};
//! use matou_hooks::{Holder, Target, Wait};
//!
//! /// A lock without the part that is interesting elsewhere: it is either free or held.
//! #[derive(Default)]
//! struct Lock {
//!     holder: Option<Holder>,
//! }
//!
//! impl Lock {
//!     /// One poll of an operation that was called at `at`.
//!     fn poll_lock(&mut self, at: &'static Location<'static>, cx: &mut Context<'_>) -> Poll<()> {
//!         let task = ready!(matou_hooks::begin_operation(cx));
//!         let target = Target::new("lock", std::ptr::from_ref(self).addr());
//!         if let Some(holder) = self.holder {
//!             matou_hooks::on_wait(&Wait::new("lock", at).on(target).held_by(holder), cx);
//!             return Poll::Pending; // after the registration of the waker
//!         }
//!         self.holder = Some(Holder::new(task, at));
//!         Poll::Ready(())
//!     }
//! }
//!
//! let (mut lock, at) = (Lock::default(), Location::caller());
//! let mut cx = Context::from_waker(std::task::Waker::noop());
//! assert!(lock.poll_lock(at, &mut cx).is_ready());
//! assert!(lock.poll_lock(at, &mut cx).is_pending());
//! ```
//!
//! # Panics of a host
//!
//! A panic of a method of [`Host`] is caught and goes no further: primitives call these where an
//! unwinding panic would leave them locked, or inside a destructor.

#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod current;
mod data;
mod host;

pub use current::{
    Current, begin_operation, close_offer, current_task, leave_task, poll_budget, replace_current,
};
pub use data::{Holder, Offer, OfferSource, Target, TaskKey, Wait};
pub use host::{Host, has_host, on_acquire, on_offer, on_release, on_wait, set_host};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
