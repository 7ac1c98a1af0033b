//! Resources that record their finalization.

use std::sync::Arc;
use std::time::Duration;

use matou_ownership::{
    AccessError, FinalizeStatus, Owned, Resource, ResourceHandle, Ticket, check, defer, own,
    release, transfer,
};
use matou_runtime::{Task, sleep};

use crate::event::Event;
use crate::record::Record;

/// A handle of a resource; all clones refer to the same one.
#[derive(Clone)]
pub(crate) enum AnyHandle {
    /// The finalizer completes at once.
    Sync(Arc<SyncHandle>),
    /// The finalizer is a future that may have to wait.
    Async(Arc<Owned<usize>>),
}

/// The handle of a [`SyncResource`], built like a socket of `matou-net`.
pub(crate) struct SyncHandle(Arc<SyncResource>);

struct SyncResource {
    ticket: Ticket,
    number: usize,
    record: Record,
}

impl Resource for SyncResource {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        self.record.add(Event::FinalizerStarted { resource: self.number });
        self.record.add(Event::Finalized { resource: self.number });
        FinalizeStatus::Done
    }
}

impl ResourceHandle for SyncHandle {
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.0.clone()
    }
}

/// Creates a value with a finalizer that the current task owns.
#[track_caller]
pub(crate) fn owned(number: usize, is_async: bool, record: &Record) -> Owned<usize> {
    let record = record.clone();
    if !is_async {
        return Owned::new(number, move |resource| {
            record.add(Event::FinalizerStarted { resource });
            record.add(Event::Finalized { resource });
        });
    }
    Owned::with_async(number, move |resource| async move {
        record.add(Event::FinalizerStarted { resource });
        sleep(Duration::from_millis(resource as u64 % 4)).await;
        record.add(Event::Finalized { resource });
    })
}

/// A handle that a job has received from another one. Records its drop.
pub(crate) struct Taken {
    job: usize,
    resource: usize,
    record: Record,
    /// Dropped after the drop is recorded.
    handle: Owned<usize>,
}

impl Taken {
    pub(crate) fn new(job: usize, handle: Posted, record: &Record) -> Taken {
        let Posted { resource, handle } = handle;
        Taken { job, resource, record: record.clone(), handle }
    }

    pub(crate) fn become_owner(&mut self) {
        drop(self.handle.get_mut().expect("the resource is alive"));
        self.record.add(Event::Adopted { job: self.job, resource: self.resource });
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.record.add(Event::HandleDropped { job: self.job, resource: self.resource });
    }
}

/// A handle on its way from one job to another.
pub(crate) struct Posted {
    pub(crate) resource: usize,
    pub(crate) handle: Owned<usize>,
}

impl AnyHandle {
    /// Creates a resource that the current task owns.
    #[track_caller]
    pub(crate) fn new(number: usize, is_async: bool, record: &Record) -> AnyHandle {
        if is_async {
            return AnyHandle::Async(Arc::new(owned(number, true, record)));
        }
        let record = record.clone();
        let ticket = Ticket::new("test resource");
        let resource = Arc::new(SyncResource { ticket, number, record });
        own(&(resource.clone() as Arc<dyn Resource>));
        AnyHandle::Sync(Arc::new(SyncHandle(resource)))
    }

    /// The number of the resource's ticket.
    pub(crate) fn ticket(&self) -> u64 {
        match self {
            AnyHandle::Sync(handle) => handle.0.ticket.id(),
            AnyHandle::Async(owned) => owned.info().id,
        }
    }

    pub(crate) fn give(&self, task: Task) -> Task {
        match self {
            AnyHandle::Sync(handle) => task.give(handle),
            AnyHandle::Async(owned) => task.give(owned),
        }
    }

    /// Returns an error if the current task does not own the resource.
    pub(crate) fn check(&self) -> Result<(), AccessError> {
        match self {
            AnyHandle::Sync(handle) => check(&**handle),
            AnyHandle::Async(owned) => check(&**owned),
        }
    }

    pub(crate) fn transfer(&self) -> Result<(), AccessError> {
        match self {
            AnyHandle::Sync(handle) => transfer(&**handle),
            AnyHandle::Async(owned) => transfer(&**owned),
        }
    }

    /// Finalizes the resource: at once, or when its owner completes if the finalizer is a future.
    pub(crate) fn release(&self) {
        match self {
            AnyHandle::Sync(handle) => drop(release(&**handle)),
            AnyHandle::Async(owned) => defer(&**owned),
        }
    }
}
