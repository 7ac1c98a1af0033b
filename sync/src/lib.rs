//! Async [`Mutex`], [`Condition`] and [`Queue`] that lose no wake-up, under any executor.
//!
//! ```
//! use futures::{executor::block_on, join};
//! use matou_sync::{Condition, Mutex, Queue};
//!
//! let (total, changed, numbers) = (Mutex::new(0), Condition::new(), Queue::bounded(2));
//!
//! block_on(async {
//!     let push = async {
//!         for number in 1..=10 {
//!             numbers.push(number).await.unwrap();
//!         }
//!         numbers.close();
//!     };
//!     let add = async {
//!         while let Ok(number) = numbers.pop().await {
//!             *total.lock().await += number;
//!             changed.signal();
//!         }
//!     };
//!     let wait = async { *changed.wait_while(total.lock().await, |total| *total < 55).await };
//!
//!     assert_eq!(join!(push, add, wait).2, 55);
//! });
//! ```
//!
//! # What to choose
//!
//! Consider [`std::sync::Mutex`] if you hold no lock across an `.await`: it is smaller and faster.
//! Consider a [`Queue`] before a [`Mutex`]: a task that owns its data needs no lock. These types
//! block no thread, except the methods that say so, and need no runtime: any executor will do, and
//! tasks of different executors may meet in one of them.
//!
//! # Guarantees
//!
//! - **Order.** Waiters stand in a line. [`Condition::signal`] ends the wait of the one that came
//!   first. [`Mutex`] and [`Queue`] call the one that came first, but a newcomer may take the lock,
//!   the value or the room before the called one is polled. For the mutex this is bounded: a waiter
//!   that was overtaken five times bars newcomers until it got its turn. No clock decides.
//! - **Cancellation.** Any future may be dropped at any point. Nothing is lost by it: a wake-up
//!   that it had received goes to the next waiter, a value stays in the queue. Each future says so
//!   under *Cancel safety*. A future that is kept but no longer polled keeps what it was given.
//! - **Panics.** No poisoning: a guard unlocks when it is dropped, however that comes about.
//! - **Wakers.** Those of a [`Condition`] run while nothing is locked, and one that panics does not
//!   keep the others of a broadcast asleep. Those of a [`Mutex`] or a [`Queue`] are called by
//!   event-listener 5.4 while its list is locked: they must not panic, nor poll in place a task
//!   that uses the same mutex or queue. The wakers of executors only schedule, and do neither.
//! - **Time and space.** All operations take constant time, except those that wake everybody.
//!   An uncontended lock is one exchange, as is the unlocking, without allocation. Nothing here has
//!   a timeout: combine the futures with that of your runtime.
//! - **Diagnosis.** [`Mutex::holder`] names the line that holds a lock, a task that seems to wait
//!   for itself is reported, see [`SelfDeadlock`], and a runtime can be told who waits for what:
//!   [`set_hooks`].
//!
//! # How it is tested
//!
//! Models in `tests/loom.rs` and `tests/shuttle.rs` run this very code under all schedules with few
//! preemptions, or under many random ones; each proof is run again with one step left out, and has
//! to fail then.

#![deny(unsafe_op_in_unsafe_fn)]
#![doc(test(attr(deny(warnings))))]

#[cfg(not(any(loom, shuttle)))]
mod blocking;
mod condition;
mod error;
mod gate;
mod hooks;
mod line;
mod mutex;
mod queue;
mod raw;
mod self_deadlock;
mod sys;
mod waiters;

/// The named futures that the methods return.
pub mod futures {
    pub use crate::condition::{Wait, WaitWhile};
    pub use crate::mutex::Lock;
    pub use crate::queue::{Pop, Push};
}

pub use crate::condition::Condition;
pub use crate::error::{PopError, PushError, TryPopError, TryPushError};
pub use crate::hooks::{Hooks, set_hooks};
pub use crate::mutex::{Mutex, MutexGuard};
pub use crate::queue::Queue;
pub use crate::self_deadlock::{SelfDeadlock, set_self_deadlock_hook};

/// Levers of the models; not part of the interface.
#[cfg(any(loom, shuttle))]
#[doc(hidden)]
pub mod model {
    pub use crate::sys::Sabotage;
    pub use crate::sys::modelled::{with_impatience, with_sabotage};
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
