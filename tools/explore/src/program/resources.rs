//! The steps that use resources, locks and conditions.

use std::future::pending;
use std::time::Duration;

use matou_ownership::AccessError;
use matou_runtime::{defer, sleep, timeout, yield_now};

use super::environment::{LockGuard, WaitGuard};
use super::interpreter::Interpreter;
use crate::record::{Event, ViolationKind};
use crate::resource::AnyHandle;

impl Interpreter<'_> {
    pub(super) fn own(&mut self, resource: usize, is_async: bool) {
        let handle = AnyHandle::new(resource, is_async, &self.environment.record);
        self.environment.insert_resource(resource, handle);
        self.record(Event::Owned { job: self.job.id, resource });
        self.owned.push(resource);
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

    /// Uses a resource of the parent. If the parent still owns it, the violation ends the run, and
    /// this future is not polled again.
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

    pub(super) async fn hold_lock(&self, lock: usize, yields: u32) {
        let _locked = self.environment.lock(lock).lock().await;
        let _guard = LockGuard::new(self.job.id, lock, self.environment);
        for _ in 0..yields {
            yield_now().await;
        }
    }

    pub(super) async fn wait(&self, lock: usize, millis: u64) {
        let (job, environment) = (self.job.id, self.environment);
        let wait = async {
            let locked = environment.lock(lock).lock().await;
            // Records the release before it happens, in the first poll of the wait. That poll
            // follows immediately, so no event can come between.
            drop(LockGuard::new(job, lock, environment));
            let guard = WaitGuard::new(job, lock, environment);
            let _locked = environment.condition(lock).wait(locked).await;
            guard.woken();
            let _guard = LockGuard::new(job, lock, environment);
            yield_now().await;
        };
        if timeout(Duration::from_millis(millis), wait).await.is_err() {
            self.record(Event::WaitTimedOut { job, lock });
        }
    }
}
