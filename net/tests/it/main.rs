//! Tests of the guarantees of sockets, one module per subject.

mod accept;
mod alloc;
mod close;
mod conformance;
mod connect;
mod copy;
mod custom_driver;
mod echo;
mod finish;
mod foreign_descriptors;
mod halves;
mod host_names;
mod many_waiters;
mod moved;
mod owner;
mod simulated;
mod source_lines;
mod support;
mod transfer;
mod types;
mod udp;
mod unix;
mod urgent;
