#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod enter;
mod error;
mod handle;
mod runtime;

pub use enter::Enter;
pub use error::CallError;
pub use handle::TokioHandle;
pub use runtime::{Shutdown, Tokio};
