#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod client;
mod descriptors;
mod doors;
mod limits;
mod log;
mod server;
mod shutdown;
mod stats;

pub use descriptors::{count_open, raise_limit};
pub use doors::Doors;
pub use limits::{InvalidLimits, Limits};
pub use log::{Level, Log};
pub use server::run;
pub use shutdown::Shutdown;
pub use stats::Served;
