//! Child processes, which are children of the current task.
//!
//! [`Command::spawn`] starts a process, by a blocking job, and spawns a task that waits for it.
//! This task is a child like any other: its parent awaits or cancels it, and it ends only when the
//! process has ended and was reaped. Cancelling it, by whatever way, sends SIGTERM to the process,
//! then SIGKILL if the process has not ended within a [grace period](Command::grace).
//!
//! A process inherits no descriptor but 0, 1 and 2. On Linux its end is reported by a pidfd, on
//! other systems by SIGCHLD. In a [simulated](matou_runtime::test) run there are no processes, and
//! spawning one is an error.

mod child;
mod command;
mod output;
mod pipe;
mod running;
mod spawn;

pub use child::{Child, Wait};
pub use command::Command;
use command::SharedCommand;
pub use output::{OutputFuture, StatusFuture};
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};
pub use spawn::Spawn;
#[doc(no_inline)]
pub use std::process::{ExitStatus, Output, Stdio};
