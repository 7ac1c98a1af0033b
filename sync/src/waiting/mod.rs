//! How tasks wait: one mechanism for all primitives, and how to use it for a new one.
//!
//! All primitives share three problems. A task checks some state, finds that it must wait, and
//! registers its waker; between the check and the registration another task may change the state
//! and find no waiter to wake. A future that was woken may be dropped before it is polled, so that
//! its wake-up is lost for the others. And it may be kept without being polled, by a `select!` that
//! has gone on to something else or by a cancelled task that waits for its children: then its
//! wake-up is lost as well, for as long as that takes ("futurelock").
//!
//! # Offers
//!
//! A [`WaitList`] is a line of waiters. A task that makes something available *offers* it to the
//! first one: [`WaitList::offer`] marks the waiter and wakes it. The offer ends when the waiter
//!
//! - is polled: it tries to take what it waits for. If a newcomer was faster, it returns to its
//!   place in the line. After five such losses it is *starved* and newcomers are held back;
//! - is dropped: the offer is passed on to the next waiter;
//! - *declines*: the offer is passed on, and the waiter is offered nothing until it is polled. The
//!   runtime declines on behalf of a waiter, since only it knows that the waiter's task was polled
//!   without polling the waiter, or will not be polled any more. For this the list announces each
//!   offer to the host of `matou-hooks`, with the task that polled the waiter last.
//!
//! A waiter that no task of a host has polled never declines. It may try whenever it is polled,
//! not only when it was offered something, so that at least its own task is not blocked by a future
//! that this task has set aside.
//!
//! # Where the state is
//!
//! The state of the primitive, such as the word of a mutex, is not in the list, so that operations
//! without contention do not touch the list. The gap between check and registration is closed by
//! the lock of the list: a task that is about to wait checks the state for the last time under it
//! ([`WaitList::enqueue`]), a waiter that is polled tries under it ([`WaitList::poll`]), and an
//! offer is made under it, after the change of the state.
//!
//! A task that makes something available must then find out whether any task waits:
//!
//! | | how | used by |
//! | --- | --- | --- |
//! | the state is one word | it counts or marks waiters in the word | `Mutex`, `Semaphore` |
//! | the state is synchronized otherwise | [`Notify`]: a count, a fence and a load | all others |
//! | the wake-up is all there is | it locks the list | `Condition` |
//!
//! [`Kind`] determines the meaning of an offer. Usually it is the permission to try, and the object
//! stays in the state of the primitive, where a newcomer may take it. A signal of a condition is
//! given: no newcomer can take it, and if no other task waits, it stays with the waiter that
//! declined it.
//!
//! A primitive whose waiters request different amounts, such as a semaphore, keeps the request of
//! each in [`Request::data`] and tries under the lock as `Mutex` does. Its release makes offers
//! while the first waiter's request can be met ([`WaitList::offer_amount`]). Newcomers never
//! overtake the waiters of such a primitive.
//!
//! A lock or a cell that is a number of permits, such as `RwLock` and `OnceCell`, needs no list of
//! its own: it uses `semaphore::raw`.
//!
//! A future keeps its [`WaiterKey`] and does the following.
//!
//! - In `poll`, it calls [`WaitList::poll`] and is done when that is `Ready`.
//! - In `drop`, it calls [`WaitList::remove`], which passes an open offer on.
//! - If it has taken something and not used it, as a signalled wait that is dropped while it locks
//!   its mutex, it gives that back by [`WaitList::pass_on`].
//!
//! # Rules
//!
//! - Wakers are foreign code: clone, drop and call them while no lock of this crate is held. The
//!   list does so for the wakers that it stores. A waker may use the primitive that clones, drops
//!   or calls it, and may panic.
//! - The closures that the list calls under its lock must not call foreign code either, and must
//!   not access another list: notify other waiters afterwards.
//! - Report each poll that is about to return `Pending` to [`matou_hooks::on_wait`].
//! - Write a loom model, in `tests/model`, for each wake-up that could be lost: one for a dropped
//!   waiter, one for a waiter that declines, one for the gap between check and registration. Mark
//!   the statement that each model protects with a `// fault: NAME` comment and enter the edit that
//!   breaks it in `xtask/faults.toml`; `cargo xtask mutants NAME` then shows that the model fails.
//!
//! # Files that a new primitive changes
//!
//! | file | change |
//! | --- | --- |
//! | `src/<name>/` | the type, its guards and its futures |
//! | `src/waiting/wait_list.rs` | its [`Kind`] |
//! | `src/lib.rs` | `mod`, the exports, `futures`, and *Guarantees* |
//! | `src/error.rs` | the errors, with `Display` and `Error` |
//! | `tests/it/main.rs`, `tests/it/<name>.rs` | tests of the public interface |
//! | `tests/it/alloc.rs` | that its uncontended operations do not allocate |
//! | `tests/it/reentrant.rs` | that its wakers may use it |
//! | `tests/hooks.rs` | that a waiting task is reported |
//! | `tests/loom.rs`, `tests/model/<name>.rs` | the models; `tests/shuttle.rs` runs larger ones |
//! | `xtask/faults.toml` | the edits that the models must find |
//! | `docs/scenarios.md` | the rows of its tests, such as M15 of a semaphore |
//! | `README.md` of the crate and of the workspace | the names of the types |
//! | `docs/coming-from.md`, `CHANGELOG.md` | its equivalents elsewhere; the news |

mod amounts;
mod notify;
mod offer;
mod wait_list;
mod waiters;

pub(crate) use amounts::Reserve;
pub(crate) use notify::{Notify, Place, Waiting};
pub(crate) use wait_list::{Kind, Turn, WaitList};
pub(crate) use waiters::{Request, WaiterKey};
