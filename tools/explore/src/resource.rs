//! Resources that record what becomes of them.

use std::sync::Arc;

use matou_ownership::{
    AccessError, FinalizeStatus, Owned, Resource, ResourceHandle, Ticket, check, defer, own,
    release, transfer,
};
use matou_runtime::{Task, sleep};

use crate::record::{Event, Record};

/// A resource's handle. All clones are one resource, which lives on in the attic when its owner has
/// lost it: then only the ledger can finalize it.
#[derive(Clone)]
pub(crate) enum Held {
    Quick(Arc<Door>),
    /// Its finalizer has to wait.
    Slow(Arc<Owned<usize>>),
}

/// As a socket is made: see `Resource`.
pub(crate) struct Door(Arc<Inner>);

struct Inner {
    ticket: Ticket,
    number: usize,
    record: Record,
}

impl Resource for Inner {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        self.record.add(Event::Begun { resource: self.number });
        self.record.add(Event::Finalized { resource: self.number });
        FinalizeStatus::Done
    }
}

impl ResourceHandle for Door {
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.0.clone()
    }
}

impl Held {
    #[track_caller]
    pub(crate) fn new(number: usize, is_async: bool, record: &Record) -> Held {
        let record = record.clone();
        if is_async {
            let finalizer = move |number| async move {
                record.add(Event::Begun { resource: number });
                sleep(std::time::Duration::from_millis(number as u64 % 4)).await;
                record.add(Event::Finalized { resource: number });
            };
            return Held::Slow(Arc::new(Owned::with_async(number, finalizer)));
        }
        let inner = Arc::new(Inner { ticket: Ticket::new("door"), number, record });
        own(&(inner.clone() as Arc<dyn Resource>));
        Held::Quick(Arc::new(Door(inner)))
    }

    pub(crate) fn give(&self, task: Task) -> Task {
        match self {
            Held::Quick(door) => task.give(door),
            Held::Slow(owned) => task.give(owned),
        }
    }

    /// Uses it through a shared reference.
    pub(crate) fn check(&self) -> Result<(), AccessError> {
        match self {
            Held::Quick(door) => check(&**door),
            Held::Slow(owned) => check(&**owned),
        }
    }

    pub(crate) fn transfer(&self) -> Result<(), AccessError> {
        match self {
            Held::Quick(door) => transfer(&**door),
            Held::Slow(owned) => transfer(&**owned),
        }
    }

    /// Lets it go: now, or at its owner's end if its finalizer has to wait.
    pub(crate) fn release(&self) {
        match self {
            Held::Quick(door) => drop(release(&**door)),
            Held::Slow(owned) => defer(&**owned),
        }
    }
}
