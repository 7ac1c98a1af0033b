//! Async synchronization primitives that lose no wake-up, under any executor.
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
//! # Choosing a type
//!
//! Consider [`std::sync::Mutex`] if you hold no lock across an `.await`: it is smaller and faster.
//! Consider a [`Queue`] before a [`Mutex`]: a task that owns its data needs no lock.
//!
//! | to | use |
//! | --- | --- |
//! | share data | [`Mutex`]; [`RwLock`] if most tasks only read |
//! | wait until data have changed | [`Condition`] |
//! | pass values on | [`Queue`]; [`Computation`] for one value |
//! | wait for an event | [`Trigger`]; [`Barrier`] for each other |
//! | limit how many do something | [`Semaphore`] |
//! | initialize a value once | [`OnceCell`], [`Lazy`] |
//!
//! These types block no thread, except in the methods whose names end in `_blocking`. They need no
//! particular runtime, and tasks of different executors may share one of them.
//!
//! # Guarantees
//!
//! - **Order.** Waiters are woken in the order in which they began to wait. [`Condition::signal`]
//!   ends the wait of the first one. A notified waiter of a [`Mutex`] or [`Queue`] may be overtaken
//!   by a newcomer that takes the lock, the value or the slot; it then keeps its place. This is
//!   bounded: a waiter that has been overtaken five times holds newcomers back until it has what it
//!   waits for. No clock is involved. A waiter of a [`Semaphore`] or an [`RwLock`] is never
//!   overtaken.
//! - **Cancellation.** Any future may be dropped at any time without losing anything: a wake-up
//!   that it has received goes to the next waiter, and a value stays in the queue. Details are
//!   under *Cancel safety* of each future.
//! - **Futures that are kept.** A future that was woken and is kept without being polled, for
//!   example by a `select!` that has gone on to something else, would keep others waiting
//!   ("futurelock"). Under `matou-runtime` it does not: a wake-up is an offer that is good for one
//!   poll of the waiter's task, and then goes to the next waiter; see [`matou_hooks::Offer`]. Under
//!   other runtimes a waiter that is polled takes a free lock, slot or value even if another one
//!   was notified, so at least a task is not blocked by a future that it has set aside itself. (Not
//!   so a [`Semaphore`] or an [`RwLock`], which keep the order.)
//! - **Panics.** No poisoning: a guard unlocks when it is dropped, also by a panic.
//! - **Wakers** are cloned, called and dropped while no lock is held. They may use the primitive
//!   that calls them. If one panics, nothing is lost and a broadcast still wakes the other waiters.
//!   [`Condition::signal`] and [`Condition::broadcast`] continue the panic, other methods do not.
//! - **Time and space.** All operations take constant time, except those that wake all waiters
//!   and the return of an overtaken waiter to its place, which it looks for from both ends.
//!   Locking and unlocking an uncontended mutex take one atomic operation each and do not allocate.
//!   There are no timeouts: combine the futures with those of your runtime.
//! - **Availability.** Each operation consumes a part of the task's budget, so a task that loops
//!   over a queue which never is empty yields to other tasks. The `try_` methods do not.
//! - **Diagnosis.** [`Mutex::holder`] returns the location that locked a mutex. The runtime learns
//!   through [`matou_hooks`] which task waits for what, and which task holds it. `matou-runtime`
//!   reports a task that waits for itself. Under runtimes that have no such host, waits are not
//!   reported and there is no budget.
//!
//! # Tests
//!
//! Models in `tests/loom.rs` and `tests/shuttle.rs` run this code under all schedules with few
//! preemptions, and under many random ones. Each line that a proof rests on is marked by a `fault`
//! comment; `cargo xtask mutants` shows that the models fail without it.

#![deny(unsafe_op_in_unsafe_fn)]
#![doc(test(attr(deny(warnings))))]

mod barrier;
#[cfg(not(any(loom, shuttle)))]
mod block_on;
mod computation;
mod condition;
mod error;
mod holder;
mod locks;
mod mutex;
mod once;
mod primitives;
mod queue;
mod rwlock;
mod semaphore;
mod trigger;
mod waiting;

/// The futures that the methods return.
pub mod futures {
    pub use crate::barrier::BarrierWait;
    pub use crate::computation::{ComputationWait, Ended};
    pub use crate::condition::{Wait, WaitWhile};
    pub use crate::mutex::{Lock, LockArc};
    pub use crate::queue::{Closed, Pop, PopMany, Push};
    pub use crate::rwlock::{Read, ReadArc, ReadFrom, Write, WriteArc, WriteFrom};
    pub use crate::semaphore::{Acquire, AcquireArc, AcquireFrom};
    pub use crate::trigger::TriggerWait;
}

pub use crate::barrier::{Barrier, BarrierWaitResult};
pub use crate::computation::{Completer, Computation, ComputationError};
pub use crate::condition::Condition;
pub use crate::error::{
    AcquireError, PopError, PushError, TryAcquireError, TryPopError, TryPushError,
};
pub use crate::mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use crate::once::{Lazy, OnceCell};
pub use crate::queue::{Queue, QueueSink, QueueStream};
pub use crate::rwlock::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, ReadGuard, RwLock, RwLockReadGuard,
    RwLockWriteGuard, WriteGuard,
};
pub use crate::semaphore::{OwnedSemaphorePermit, Permit, Semaphore, SemaphorePermit};
pub use crate::trigger::Trigger;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
