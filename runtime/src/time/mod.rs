//! Time, as the driver of the current domain tells it.

mod deadline;
mod sleep;
mod timeout;
mod timers;

pub use deadline::{Deadline, deadline, remaining};
pub use sleep::{Sleep, now, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout};
pub(crate) use timers::{Sleeper, TimerKey, Timers};
