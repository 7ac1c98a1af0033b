//! The steps that use resources, locks and conditions.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use matou_ownership::AccessError;
use matou_runtime::{defer, sleep, timeout, yield_now};
use matou_sync::futures::Lock;

use super::Then;
use super::environment::{AcquisitionGuard, Held, WaitGuard};
use super::interpreter::Interpreter;
use crate::record::{Event, ViolationKind};
use crate::resource::{AnyHandle, Posted, Taken, owned};

impl Interpreter<'_> {
    pub(super) fn own(&mut self, resource: usize, is_async: bool) {
        let handle = AnyHandle::new(resource, is_async, &self.environment.record);
        self.environment.insert_resource(resource, handle);
        self.record(Event::Owned { job: self.job.id, resource });
        self.owned.push(resource);
    }

    pub(super) fn post(&self, resource: usize, is_async: bool) {
        let handle = owned(resource, is_async, &self.environment.record);
        self.record(Event::Owned { job: self.job.id, resource });
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

    pub(super) async fn hold_lock(&self, lock: usize, millis: u64) {
        let _held = self.acquire(lock, self.environment.lock(lock).lock()).await;
        sleep(Duration::from_millis(millis)).await;
    }

    /// Polls the acquisition of a lock a few times, and then sleeps without polling it.
    pub(super) async fn set_aside(&self, lock: usize, polls: u32, millis: u64, then: Then) {
        let mut acquisition = self.environment.lock(lock).lock();
        for _ in 0..polls {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut acquisition).poll(cx))).await {
                Poll::Ready(locked) => {
                    drop(Held::new(self.job.id, lock, self.environment, locked));
                    return;
                }
                Poll::Pending => yield_now().await,
            }
        }
        self.record(Event::LockSetAside { job: self.job.id, lock });
        sleep(Duration::from_millis(millis)).await;
        if then == Then::LockAgain {
            self.hold_lock(lock, 0).await;
        }
        self.record(Event::SetAsideEnded { job: self.job.id, lock });
        if then != Then::Drop {
            drop(self.acquire(lock, acquisition).await);
        }
    }

    /// Waits for an acquisition of a lock. From here on it is polled whenever the job is.
    async fn acquire<'a>(&'a self, lock: usize, acquisition: Lock<'a, ()>) -> Held<'a> {
        let (job, environment) = (self.job.id, self.environment);
        let waiting = AcquisitionGuard::new(job, lock, environment);
        let locked = acquisition.await;
        waiting.acquired();
        Held::new(job, lock, environment, locked)
    }

    pub(super) async fn wait(&self, lock: usize, millis: u64) {
        let (job, environment) = (self.job.id, self.environment);
        let wait = async {
            let Held { guard, locked } = self.acquire(lock, environment.lock(lock).lock()).await;
            // Records the release before it happens, in the first poll of the wait. That poll
            // follows immediately, so no event can come between.
            drop(guard);
            let guard = WaitGuard::new(job, lock, environment);
            let locked = environment.condition(lock).wait(locked).await;
            guard.woken();
            let _held = Held::new(job, lock, environment, locked);
            yield_now().await;
        };
        if timeout(Duration::from_millis(millis), wait).await.is_err() {
            self.record(Event::WaitTimedOut { job, lock });
        }
    }
}
