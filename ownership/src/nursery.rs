//! Where the value that the current task made last is, as long as it is young.
//!
//! Many values are gone before anybody could have asked for them: they are made and dropped within
//! one poll. Hence the newest value stays here at first, in a thread-local, where to enter and to
//! leave takes no lock. Its ledger lists it before anybody can miss it there: when the next value
//! is made, when the thread turns to another ledger or to none, and before anything that is done
//! on this thread looks at the list. Other threads find its ticket as they find any; only, its
//! place has no slot yet. What they do to it comes to light when it is to be listed, under the
//! ticket's lock.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use crate::current::shared_or_new;
use crate::sys::local;
use crate::{Ledger, Resource, Ticket, ticket};

local! {
    /// What belongs to the current ledger and is not listed there. Why `ManuallyDrop`? As for the
    /// current ledger, and nobody turns away from that one before this is empty.
    static YOUNG: Cell<ManuallyDrop<Option<Young>>> = Cell::new(ManuallyDrop::new(None));
}

local! {
    /// A reference to the current ledger that a young value has left behind, for the next one.
    static SPARE: Cell<ManuallyDrop<Option<Arc<Ledger>>>> = Cell::new(ManuallyDrop::new(None));
}

struct Young {
    /// By which it is found.
    ticket: *const Ticket,
    resource: Arc<dyn Resource>,
}

/// Returns the current ledger for a value that is about to be made, and makes it if the task has
/// none yet. `None` outside.
#[inline]
pub(crate) fn ledger_to_enter() -> Option<Arc<Ledger>> {
    exchange_spare(None).or_else(shared_or_new)
}

/// Takes in a value, which `ticket` says is young here.
pub(crate) fn admit(ticket: &Ticket, resource: Arc<dyn Resource>) {
    if let Some(older) = exchange(Some(Young { ticket, resource })) {
        ticket::list(older.resource);
    }
}

/// Takes out the value of this ticket, if it is here.
pub(crate) fn take(ticket: &Ticket) -> Option<Arc<dyn Resource>> {
    let young = exchange(None)?;
    if ptr::eq(young.ticket, ticket) {
        return Some(young.resource);
    }
    exchange(Some(young));
    None
}

/// Keeps the reference to the current ledger of a value that was taken out.
#[inline]
pub(crate) fn keep(ledger: Arc<Ledger>) {
    debug_assert_eq!(Ledger::address(&ledger), crate::current::here());
    drop(exchange_spare(Some(ledger)));
}

/// Has listed what is here.
#[inline]
pub(crate) fn clear() {
    drop(exchange_spare(None));
    if let Some(young) = exchange(None) {
        ticket::list(young.resource);
    }
}

#[inline]
fn exchange(young: Option<Young>) -> Option<Young> {
    let young = ManuallyDrop::new(young);
    ManuallyDrop::into_inner(YOUNG.with(|cell| cell.replace(young)))
}

#[inline]
fn exchange_spare(ledger: Option<Arc<Ledger>>) -> Option<Arc<Ledger>> {
    let ledger = ManuallyDrop::new(ledger);
    ManuallyDrop::into_inner(SPARE.with(|cell| cell.replace(ledger)))
}
