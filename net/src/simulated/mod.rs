//! An in-memory network for the simulated runs of [`matou_runtime::test`].
//!
//! Every decision (how long a segment travels, where it is split, which connection breaks) is drawn
//! from the run's seed, and all times are virtual.
//!
//! The model is TCP as programs observe it: bytes arrive late, in pieces, in order and exactly
//! once. Closing a socket with unread bytes resets the connection, and so does a write to a closed
//! peer. A writer waits while the peer's window is full, and a client retries while the listener's
//! backlog is full. UDP datagrams arrive late; faults lose, duplicate and reorder them.

mod connection;
mod datagram;
mod endpoint;
mod fault_rng;
mod faults;
mod half;
mod hosts;
mod listener;
mod locks;
mod network;
mod stream_buffer;
mod unix;
mod waker_list;

use std::io;

use matou_runtime::{Direction, WakerKey};

use crate::address::Address;

pub(crate) use datagram::Datagram;
pub(crate) use endpoint::Endpoint;
pub(crate) use listener::{Listener, ListenerHandle};
pub(crate) use network::{Network, network};

pub use faults::{Counters, Faults};
pub use hosts::add_host;
pub use network::{counters, set_faults};

/// The operations of every in-memory socket.
pub(crate) trait InMemorySocket: Send + Sync + 'static {
    /// The mark of the system's sockets of this kind.
    type Kind;

    fn local_addr(&self) -> io::Result<Address>;

    /// Returns whether the socket was open.
    fn close(&self) -> bool;

    /// Removes the waker of a future that is dropped while it waits.
    fn cancel_wait(&self, direction: Direction, key: &mut WakerKey);
}
