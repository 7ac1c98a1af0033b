#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod client;
mod context;
mod descriptors;
mod limits;
mod line_writer;
mod listeners;
mod log;
mod server;
mod shutdown;
mod stats;

pub use descriptors::{open_descriptors, raise_descriptor_limit};
pub use limits::{InvalidLimits, Limits};
pub use line_writer::LineWriter;
pub use listeners::Listeners;
pub use log::{Level, Log};
pub use server::run;
pub use shutdown::Shutdown;
pub use stats::Stats;

/// Compiles and runs the recipes, which use all the crates.
#[cfg(doctest)]
#[doc = include_str!("../../docs/recipes.md")]
mod recipes {}
