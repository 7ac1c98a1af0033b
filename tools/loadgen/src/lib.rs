//! Load generator for TCP echo servers: one thread, one epoll instance, every echoed byte compared.
//!
//! It uses no async runtime, so it has nothing in common with the servers under test. The load is
//! bounded in the number of connections and in time, and every wait has a limit. The crate serves
//! `cargo xtask loadtest`, which is its binary, and the echo measurements of `cargo xtask bench`.

#![forbid(unsafe_code)]

mod client;
mod failure;
mod generator;
mod interrupt;
mod payload;
pub mod process;
mod strace;
mod workload;

pub use failure::{Failure, Failures, Kind};
pub use generator::{Counts, Generator, Load, Totals};
pub use interrupt::{Interrupted, catch_interrupts, exit_code, interrupted, pause};
pub use strace::{SystemCallCounter, SystemCalls};
pub use workload::{Pattern, Plan};
