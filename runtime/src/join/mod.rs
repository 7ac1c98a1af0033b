//! Waiting for children: one promise, several promises at once, and groups.

mod cancel;
mod cancel_group;
mod child_handle;
mod group;
mod next;
mod orphans;
mod promise;
mod several;

pub use cancel::Cancel;
pub(crate) use group::{Group, Refusal, Start};
pub use next::{Next, NextOrPending};
pub(crate) use orphans::WhenEmpty;
pub use orphans::{Orphans, TryNext};
pub use promise::Promise;
pub use several::{AwaitAll, AwaitFirst, AwaitOne, await_all, await_first, await_one};
