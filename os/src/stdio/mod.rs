//! The standard input and output of the process, without blocking a domain.
//!
//! Other processes use the same pipe or terminal: the shell, a parent, the next command of a
//! pipeline. So its mode is never changed to non-blocking.
//!
//! | [`stdin`] is | how it is read |
//! | --- | --- |
//! | a pipe or terminal, on Linux | Opened again (`/proc`), in a mode of its own, and polled. |
//! | a socket; else a pipe or terminal | A duplicate is polled, and read when it is ready. |
//! | a file | Blocking jobs read it, because no poller can wait for a file. |
//!
//! If two processes read the same duplicate at once, the faster one takes the bytes, and the other
//! one's read blocks its domain until there are more.
//!
//! No thread waits for input, so none keeps a process from ending. [`std::io::stdin`] has a buffer
//! of its own: use one of them.
//!
//! [`stdout`] and [`stderr`] accept bytes, and blocking jobs write them, through
//! [`std::io::stdout`] and [`std::io::stderr`]. Bytes that were accepted are written before the
//! task ends, or their loss is reported.

mod input;
mod output;
mod queue;
mod regular;

pub use input::{NextLine, Stdin, stdin};
pub use output::{Stderr, Stdout, stderr, stdout};
