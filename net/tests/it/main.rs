//! The promises of the sockets, one module per question.

mod accept;
mod alloc;
mod connect;
mod doubles;
mod echo;
mod ends;
mod owner;
mod simulated;
mod transfer;
mod types;
