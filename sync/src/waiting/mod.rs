//! How tasks wait: which mechanism to use for a new primitive, and why.
//!
//! All primitives share two problems. A task checks some state, finds that it must wait, and
//! registers its waker; between the check and the registration another task may change the state
//! and find no waiter to wake. And a future that was woken may be dropped before it is polled, so
//! that its wake-up is lost for the others. Two mechanisms solve both.
//!
//! | | [`Notify`] | [`WaitList`] |
//! | --- | --- | --- |
//! | a woken waiter | checks the state again | has what it waited for |
//! | the state is | an atomic or lock-free structure | decided under the lock of the list |
//! | newcomers | may overtake a woken waiter | cannot take what a waiter was given |
//! | the list is | event-listener's, an allocation per wait | a slab, whose slots are reused |
//! | waking without waiters costs | a fence and a load | an uncontended lock |
//! | the woken task pays | a lock of the list | a load |
//! | a dropped woken waiter | wakes the next one by itself | gets a [`Wake`] to pass on |
//! | used by | `Queue` | `Condition` |
//!
//! # Take `Notify` if the waiter has to check the state anyway
//!
//! The waiter loops: check; `listen`; check again; wait. The second check closes the gap described
//! above. This gives the best throughput, since the state is free for whichever task runs first,
//! and only weak fairness.
//!
//! [`Mutex`](crate::Mutex) works by the same rule but uses an event directly: its state word counts
//! the waiters already, so the value that `unlock` replaces says whether there are any, and no
//! fence is needed. The word also counts *starved* waiters, which bounds how often a waiter can be
//! overtaken.
//!
//! # Take `WaitList` if a wake-up hands something over
//!
//! The task that wakes decides under the lock of the list what the first waiter gets
//! ([`WaitList::wake_first_if`]), and a task that is about to wait checks the state for the last
//! time under the same lock ([`WaitList::push_if`]), so there is no gap. An error of that check
//! says why the task need not wait: it took what it wanted, or was refused. The list's `T`
//! describes the request of a waiter, for example its number of permits. The list does not
//! interpret it.
//!
//! A method that never waits, such as the `try_acquire` of a semaphore, also uses `wake_first_if`:
//! its closure takes the permits if there is no first waiter, and returns `false`.
//!
//! A future that waits keeps its [`WaiterKey`] and does the following.
//!
//! - In `poll`, it calls [`WaitList::poll`] and is done when that is `Ready`: it then holds what
//!   the waking task gave it.
//! - In `drop`, it calls [`WaitList::remove`]. If that returns [`Wake::One`], it gives back what it
//!   was given, usually by waking the next waiter. After [`Wake::All`] it gives nothing back,
//!   because later waiters must not be woken. `None` means that the waiter was still in the list. A
//!   primitive whose first waiter can block those behind it (a semaphore whose first waiter
//!   requests many permits) must then check the new first waiter.
//!
//! # Rules for both
//!
//! - Wakers are foreign code: clone, drop and call them while no lock of this crate is held. The
//!   methods of `WaitList` return the wakers for that reason; [`wake_each`] calls several, even if
//!   one of them panics. (event-listener calls them under its own lock, which the crate's
//!   documentation states.)
//! - Report each poll that is about to return `Pending` to [`hooks::on_wait`](crate::hooks).
//! - Write a loom model, in `tests/model`, for each wake-up that could be lost: one for a dropped
//!   waiter, one for the gap between check and registration. Mark the statement that each model
//!   protects with a `// fault: NAME` comment and enter the edit that breaks it in
//!   `xtask/faults.toml`; `cargo xtask mutants NAME` then shows that the model fails.
//!
//! # Files that a new primitive changes
//!
//! | file | change |
//! | --- | --- |
//! | `src/<name>/` | the type, its guards and its futures |
//! | `src/lib.rs` | `mod`, the exports, `futures`, and *Guarantees* |
//! | `src/error.rs` | the errors, with `Display` and `Error` |
//! | `src/hooks.rs` | the names of its operations in the docs of `Hooks::on_wait` |
//! | `tests/it/main.rs`, `tests/it/<name>.rs` | tests of the public interface |
//! | `tests/it/alloc.rs` | that its uncontended operations do not allocate |
//! | `tests/hooks.rs` | that a waiting task is reported |
//! | `tests/loom.rs`, `tests/model/<name>.rs` | the models; `tests/shuttle.rs` runs larger ones |
//! | `xtask/faults.toml` | the edits that the models must find |
//! | `docs/scenarios.md` | the rows of its tests, such as M15 of a semaphore |
//! | `README.md` of the crate and of the workspace | the names of the types |
//! | `docs/coming-from.md`, `CHANGELOG.md` | its equivalents elsewhere; what is new |

mod notify;
mod wait_list;

pub(crate) use notify::{Listener, Notify};
pub(crate) use wait_list::{WaitList, WaiterKey, Wake, wake_each};
