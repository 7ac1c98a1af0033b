//! Runs that can be repeated: a program of many domains, replayed from one number.
//!
//! [`check`] runs a test body under many seeds. All domains of a run are stepped on the present
//! thread, in virtual time: when nothing is ready, the clock jumps to the next deadline, so a body
//! that sleeps for a day takes no time. Every choice is drawn from the seed: which ready task is
//! polled next, which domain takes a turn, where a [`call`](crate::call) goes, which of several
//! finished promises wins, in which order equal deadlines fire, when a message from one domain
//! arrives at another. So many seeds are many schedules, and the same seed is the same schedule,
//! event by event.
//!
//! # Finding a fault, and finding it again
//!
//! Two tasks add to a number, each in two steps, and sometimes both read it before either writes:
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
//! The panic names the seed, the events that led there, and the environment variable that runs
//! this one seed again: `MATOU_SEED=0/91c5..`. What follows the slash is the hash of the run's
//! events. A failure is replayed before it is told, and if the hashes or the ends differ, the
//! report says so: then something decides that matou does not know of. Where a test makes several
//! checks, the variable names the one that failed: `MATOU_SEED=0/91c5../3`.
//!
//! # What a body may rely on
//!
//! Everything that the runtime promises, and nothing that it merely happens to do: ready tasks are
//! polled in any order (a task that yields comes after those that were ready), messages between
//! domains take up to some milliseconds of virtual time. A body is repeatable if it decides by
//! nothing else: by [`now`](crate::now) and not by the system's clock, by no thread of its own, no
//! address, no order of a hash map with random keys. Its domains share one thread, so thread-locals
//! are shared as well, and a lock of the standard library that is held across an `.await` may
//! block all of them.
//!
//! Virtual time reaches 584 years; a deadline beyond never comes.
//!
//! There are no descriptors in a simulated run: [`IoSource`](crate::IoSource) is
//! [`Unsupported`](std::io::ErrorKind::Unsupported). The sockets of `matou-net` work, over a
//! network in memory. Signals come from [`send_signal`].
//!
//! # On real threads
//!
//! The same body runs on real domains with one word changed: [`check_on_threads`] for [`check`], or
//! [`Check::threaded`] for [`Check::simulated`].
//!
//! The chapter `runtime/docs/testing.md` of the repository tells more.
//!
//! The idea of testing a whole program in one thread from one seed is FoundationDB's; shuttle and
//! madsim brought it to Rust.

/// The chapter on testing, whose example is to keep its word.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
mod chapter {}
mod check;
mod clock;
mod deadlock;
mod event;
mod locks;
mod replay;
mod stepper;
mod world;

pub use check::{Check, TestResult, Trial, check, check_on_threads, send_signal};
pub use deadlock::{BlockedTask, Deadlock};
pub use event::Event;
pub use locks::{note_acquired, note_released, note_wait};
pub use world::{Simulation, simulation};

pub(crate) use clock::Clock;
pub(crate) use event::Happening;
pub(crate) use world::Shared;
