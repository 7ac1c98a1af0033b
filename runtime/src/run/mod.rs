//! Starting a run: its settings, its threads, and its result.

mod builder;
mod error;
mod grace;
mod live_tasks;
mod runtime;

pub use builder::{Builder, run};
pub use error::{MainError, RunError};
pub use grace::grace;
pub use live_tasks::live_tasks;
pub use runtime::{Runtime, RuntimeHandle};

pub(crate) use error::result_of;
