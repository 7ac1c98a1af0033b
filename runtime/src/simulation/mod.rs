//! The state that the domains of a simulated run share: the clock, the events and their hash, the
//! primitives that tasks wait for, and the description of a deadlock. The module
//! [`test`](crate::test) steps such runs.

mod clock;
mod deadlock;
mod event;
mod state;

pub use deadlock::{BlockedTask, Deadlock};
pub use event::Event;

pub(crate) use clock::VirtualClock;
pub(crate) use event::EventKind;
pub(crate) use state::SimulationState;
