//! The records of ownership: each resource has a ticket, each task has a ledger.
//!
//! The three types of this module refer to each other, so they share one module: a [`Ticket`]
//! refers to the [`Ledger`] of the owner, a ledger holds its resources, and each [`Resource`]
//! contains its ticket. A ticket is locked before a ledger.

mod due;
mod inherited;
mod ledger;
mod resource;
mod ticket;
mod transfer;

pub use due::FinalizerService;
pub use ledger::Ledger;
pub(crate) use ledger::List;
pub use resource::{FinalizeStatus, Resource, ResourceHandle};
pub use ticket::Ticket;
pub(crate) use ticket::{
    Detached, LockedTicket, Moved, OwnerId, Place, TASK_WITHOUT_LEDGER, UNOWNED,
};
