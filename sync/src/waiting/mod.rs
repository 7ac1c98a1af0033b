//! How tasks wait: which mechanism to use for a new primitive, and why.
//!
//! All primitives share one problem. A task checks some state, finds that it must wait, and
//! registers its waker; between the check and the registration another task may change the state
//! and find no waiter to wake. And a task that was woken may be dropped before it runs, so that its
//! wake-up would be lost for the others. There are two mechanisms for it.
//!
//! | | [`Notify`] | [`WaitList`] |
//! | --- | --- | --- |
//! | a wake-up means | the state has changed: check it again | the waiter has what it waited for |
//! | the state is | an atomic or lock-free structure beside it | decided under the lock of the list |
//! | newcomers | may overtake a woken waiter, which then waits again, last | cannot take what a woken waiter was given |
//! | the list is | event-listener's, one allocation per wait | a slab, no allocation once it has grown |
//! | a wake-up without waiters costs | a fence and a load | one uncontended lock |
//! | the woken task pays | one lock of the list | a load |
//! | a dropped waiter that was woken | wakes the next one by itself | returns [`Wake`], and its primitive hands it over |
//! | used by | `Queue` | `Condition` |
//!
//! # Take `Notify` if the waiter has to check the state anyway
//!
//! The waiter loops: check; `listen`; check again; wait. The second check closes the gap described
//! above. This gives the best throughput, since the state is free for whichever task runs first,
//! and only weak fairness.
//!
//! [`Mutex`](crate::Mutex) works by the same rule but uses an event directly: its state word counts
//! the waiters already, so `unlock` learns from the value that it replaces whether there are any and
//! needs no fence. The word also counts *starved* waiters, which bounds how often a waiter can be
//! overtaken.
//!
//! # Take `WaitList` if a wake-up hands something over
//!
//! The waker decides under the lock of the list what the first waiter gets
//! ([`WaitList::wake_first_if`]), and a task that wants to wait checks the state for the last time
//! under the same lock ([`WaitList::push_if`]), so there is no gap. What a waiter asks for (how many
//! permits, or with which mutex it waits) is the list's `T`. The list does not interpret it.
//!
//! A future that waits keeps its [`WaiterKey`] and does the following.
//!
//! - In `poll`, it calls [`WaitList::poll`] and is done when that is `Ready`: it holds what the waker
//!   gave away.
//! - In `drop`, it calls [`WaitList::remove`]. If that returns [`Wake::One`], it gives back what it
//!   was handed, usually by waking the next waiter. Nothing is due for [`Wake::All`], since waiters
//!   that came later were not meant. If it returns `None`, the waiter was still in the list; a
//!   primitive whose first waiter can block others behind it (a semaphore whose first waiter wants
//!   many permits) must then check the new first waiter.
//!
//! # Rules for both
//!
//! - Wakers are foreign code: clone, drop and call them while no lock of this crate is held. The
//!   methods of `WaitList` return the wakers for that reason. (event-listener calls them under its
//!   own lock, which the crate's documentation states.)
//! - Report each poll that is about to return `Pending` to [`hooks::on_wait`](crate::hooks).
//! - Write a loom model for each wake-up that could be lost: one in `tests/model` for a dropped
//!   waiter, and one for the gap between check and registration. Mark the line that each one
//!   protects with a `// fault:` comment; the table of edits then shows that the model fails
//!   without it.

mod notify;
mod wait_list;

pub(crate) use notify::{Listener, Notify};
pub(crate) use wait_list::{WaitList, WaiterKey, Wake};
