//! Waiting for children: one promise, several promises at once, and groups.

mod cancel;
mod child_handle;
mod group;
mod orphans;
mod promise;
mod several;

pub use cancel::Cancel;
pub(crate) use group::{Group, Refusal, Start};
pub use orphans::{Next, NextOrPending, Orphans, TryNext};
pub use promise::Promise;
pub use several::{AwaitAll, AwaitFirst, AwaitOne, await_all, await_first, await_one};
