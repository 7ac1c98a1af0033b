#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn)]
#![doc(test(attr(deny(warnings))))]

#[cfg(not(unix))]
compile_error!("matou-os supports Unix systems only; another system needs its own `os/src/sys.rs`");

mod access;
mod boxed;
mod descriptor;
pub mod fs;
mod outcome;
pub mod process;
pub mod stdio;
mod sys;

/// The runtime that the tasks run on, for packages that depend on this crate alone.
#[doc(no_inline)]
pub use matou_runtime as runtime;
