//! The server as its users meet it: a process, spoken to over sockets and signals.

mod commandline;
mod library;
mod limits;
mod miou_tutorial;
mod process;
mod shutdown;
