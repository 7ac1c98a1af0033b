//! Waiting for children: one promise, several promises at once, and groups.

mod cancel;
mod cancel_group;
mod child_handle;
mod group;
mod join_handle;
mod next;
mod orphans;
mod promise;
mod several;

pub use cancel::Cancel;
pub(crate) use group::{Group, Refusal, SendStart, Start};
pub use join_handle::JoinHandle;
pub(crate) use join_handle::{Delivery, assert_may_block, refuse_in_simulation};
pub use next::{Next, NextOrPending};
pub(crate) use orphans::WhenEmpty;
pub use orphans::{Orphans, TryNext};
pub use promise::Promise;
pub use several::{AwaitAll, AwaitFirst, AwaitOne, await_all, await_first, await_one};
