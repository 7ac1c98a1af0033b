//! Sleeping and time limits, by the clock of the current domain's driver.

mod deadline;
mod sleep;
mod timeout;

pub use deadline::{Deadline, deadline, remaining};
pub use sleep::{Sleep, now, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout};
