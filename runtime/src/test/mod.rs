//! Deterministic simulation: a program of several domains, repeatable from one seed.
//!
//! [`check`] runs the body of a test with many seeds. All domains of a run share the current thread
//! and a virtual clock: when no task is ready, the clock advances to the next deadline, so a body
//! that sleeps for a day takes no time. Every choice is drawn from the seed: the ready task that is
//! polled next, the domain that runs the next tick, the target of a [`call`](crate::call), the
//! winner among several complete promises, the order of equal deadlines, the delay of a message to
//! another domain. So many seeds cover many schedules, and the same seed repeats the same schedule,
//! event by event.
//!
//! # Finding a failure and replaying it
//!
//! Two tasks increment a number in two steps, and sometimes both read it before either writes:
//!
//! ```should_panic
//! use std::cell::Cell;
//! use std::rc::Rc;
//! use matou_runtime::test::check;
//! use matou_runtime::{spawn, yield_now};
//!
//! check(0..100, || async {
//!     let number = Rc::new(Cell::new(0));
//!     let add = |number: Rc<Cell<i32>>| async move {
//!         let before = number.get();
//!         yield_now().await;
//!         number.set(before + 1);
//!     };
//!     let (a, b) = (spawn(add(number.clone())), spawn(add(number.clone())));
//!     (a.await.unwrap(), b.await.unwrap());
//!     assert_eq!(number.get(), 2);
//! });
//! ```
//!
//! The panic message contains the seed, the events that led to the failure, and the environment
//! variable that runs this seed again: `MATOU_SEED=0/91c5..`. The part after the slash is the hash
//! of the run's events. A failure is replayed before it is reported; if the hashes or the results
//! differ, the report says that the body depends on something outside the simulation. If a test
//! makes several checks, the variable also selects the one that failed: `MATOU_SEED=0/91c5../3`.
//!
//! # Guarantees for a body
//!
//! A body may rely on everything that the runtime guarantees, and on nothing else: ready tasks are
//! polled in any order (a task that yields comes after those that were ready), and messages between
//! domains take up to some milliseconds of virtual time. A body is repeatable if it depends on
//! nothing outside the simulation: it uses [`now`](crate::now) instead of the system's clock, no
//! threads of its own, no addresses, and no iteration order of a hash map with random keys. All
//! domains share one thread, so they share thread-locals, and a lock of the standard library that
//! is held across an `.await` may block all of them.
//!
//! The virtual clock covers 584 years; a deadline beyond that never elapses.
//!
//! A simulated run has no descriptors: [`IoSource`](crate::IoSource) fails with
//! [`Unsupported`](std::io::ErrorKind::Unsupported). The sockets of `matou-net` work, over a
//! network in memory. [`send_signal`] delivers signals.
//!
//! # Real threads
//!
//! The same body runs on real threads with [`check_on_threads`] instead of [`check`], or with
//! [`Check::threaded`] instead of [`Check::simulated`].
//!
//! See also `runtime/docs/testing.md` in the repository.
//!
//! FoundationDB introduced the idea of testing a whole program in one thread from one seed; shuttle
//! and madsim brought it to Rust.

/// Compiles and runs the example in the chapter on testing.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
mod chapter {}

mod check;
mod replay;
mod simulation;
mod stepper;

pub use crate::simulation::{BlockedTask, Deadlock, Event};
pub use check::{Check, TestResult, Trial, check, check_on_threads, send_signal};
pub use simulation::{Simulation, simulation};
