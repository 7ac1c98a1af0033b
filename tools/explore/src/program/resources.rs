//! The steps that use resources.

use std::future::pending;
use std::time::Duration;

use matou_ownership::AccessError;
use matou_runtime::{defer, sleep, yield_now};

use super::interpreter::Interpreter;
use crate::event::{Event, ViolationKind};
use crate::resource::{AnyHandle, Posted, Taken, owned};

impl Interpreter<'_> {
    pub(super) fn own(&mut self, resource: usize, is_async: bool) {
        let handle = AnyHandle::new(resource, is_async, &self.environment.record);
        self.record(Event::Owned { job: self.job.id, resource, ticket: handle.ticket() });
        self.environment.insert_resource(resource, handle);
        self.owned.push(resource);
    }

    pub(super) fn post(&self, resource: usize, is_async: bool) {
        let handle = owned(resource, is_async, &self.environment.record);
        self.record(Event::Owned { job: self.job.id, resource, ticket: handle.info().id });
        self.environment.post(Posted { resource, handle });
    }

    pub(super) async fn take(&self, becomes_owner: bool, millis: u64) {
        let Some(handle) = self.environment.take() else {
            return;
        };
        let mut taken = Taken::new(self.job.id, handle, &self.environment.record);
        if becomes_owner {
            taken.become_owner();
        }
        sleep(Duration::from_millis(millis)).await;
    }

    pub(super) fn release(&self, resource: usize) {
        self.record(Event::Released { resource });
        self.environment.resource(resource).release();
    }

    /// Accesses a resource by a shared reference. Returns false if another task owns it.
    pub(super) fn use_resource(&self, resource: usize) -> bool {
        let as_owner = match self.environment.resource(resource).check() {
            Ok(()) => true,
            Err(AccessError::NotOwner(_)) => false,
            // The owner has released it.
            Err(_) => return true,
        };
        self.record(Event::Used { job: self.job.id, resource, as_owner });
        as_owner
    }

    /// Uses a resource of the parent. If the parent still owns it, that is a violation, and this
    /// future is not polled again.
    pub(super) async fn use_foreign(&self, resource: usize) {
        if !self.use_resource(resource) {
            self.record(Event::Violated { job: self.job.id, kind: ViolationKind::NotOwner });
            pending::<()>().await;
        }
    }

    pub(super) fn defer(&self, resource: usize) {
        let record = self.environment.record.clone();
        self.record(Event::Deferred { job: self.job.id, resource });
        defer(async move {
            record.add(Event::FinalizerStarted { resource });
            yield_now().await;
            sleep(Duration::from_millis(resource as u64 % 3)).await;
            record.add(Event::Finalized { resource });
        });
    }
}
