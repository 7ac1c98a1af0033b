//! A network in memory, for the runs of [`matou_runtime::test`].
//!
//! Every decision of it (how long a segment travels, where it is cut, which connection breaks) is
//! drawn from the run's seed, and all of its time is the run's. Sockets that are made in a
//! simulated run live here; nothing else of this crate knows about it but
//! [`Link`](crate::socket::Link).
//!
//! The model is that of TCP as programs see it: bytes arrive late, in pieces, in order and once; a
//! close with unread bytes resets; a write into a closed connection is answered with a reset; a
//! full window makes the writer wait; a full backlog makes the client try again.

mod dice;
mod end;
mod faults;
mod listening;
mod network;
mod pipe;
mod side;
mod waiters;

pub(crate) use end::End;
pub(crate) use listening::Listening;
pub(crate) use network::{Network, network};

pub use faults::{Counters, Faults};
pub use network::{counters, set_faults};
