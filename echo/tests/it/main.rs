//! Tests of the server as a process, which they control through sockets and signals, and of the
//! library.

mod commandline;
mod examples;
#[cfg(target_os = "linux")]
mod faults;
mod library;
mod limits;
mod miou_tutorial;
mod process;
mod shutdown;
