//! The state that the jobs of a run share, and guards that record when they are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matou_sync::Condition;

use super::generate::LOCKS;
use crate::record::{Event, Record};
use crate::resource::AnyHandle;

/// The state that the jobs of a run share. Clones share it.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) record: Record,
    /// Whether a job that returns a value violates a rule if it has forgotten a child.
    pub(super) forgets_strictly: bool,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    locks: [matou_sync::Mutex<()>; LOCKS as usize],
    /// The condition of each lock.
    conditions: [Condition; LOCKS as usize],
    /// A handle of each resource. It outlives the run, so that a resource is never finalized
    /// because its last handle was dropped: only its owner can finalize it.
    resources: Mutex<BTreeMap<usize, AnyHandle>>,
}

impl Environment {
    pub(crate) fn new(forgets_strictly: bool) -> Environment {
        Environment { record: Record::default(), forgets_strictly, shared: Arc::default() }
    }

    pub(super) fn record(&self, event: Event) {
        self.record.add(event);
    }

    pub(super) fn lock(&self, number: usize) -> &matou_sync::Mutex<()> {
        &self.shared.locks[number]
    }

    pub(super) fn condition(&self, lock: usize) -> &Condition {
        &self.shared.conditions[lock]
    }

    pub(super) fn resource(&self, number: usize) -> AnyHandle {
        self.resources()[&number].clone()
    }

    pub(super) fn insert_resource(&self, number: usize, handle: AnyHandle) {
        self.resources().insert(number, handle);
    }

    fn resources(&self) -> MutexGuard<'_, BTreeMap<usize, AnyHandle>> {
        self.shared.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records when the future of a job is dropped.
pub(super) struct BodyGuard {
    job: usize,
    record: Record,
}

impl BodyGuard {
    pub(super) fn new(job: usize, environment: &Environment) -> BodyGuard {
        BodyGuard { job, record: environment.record.clone() }
    }
}

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.record.add(Event::Dropped { job: self.job });
    }
}

/// Records the acquisition of a lock, and its release. Drop it immediately before the lock's guard.
pub(super) struct LockGuard<'a> {
    job: usize,
    lock: usize,
    record: &'a Record,
}

impl<'a> LockGuard<'a> {
    pub(super) fn new(job: usize, lock: usize, environment: &'a Environment) -> LockGuard<'a> {
        environment.record(Event::Locked { job, lock });
        LockGuard { job, lock, record: &environment.record }
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.record.add(Event::Unlocked { job: self.job, lock: self.lock });
    }
}

/// Records that a job waits for a condition, and how the wait ends.
pub(super) struct WaitGuard<'a> {
    job: usize,
    lock: usize,
    record: &'a Record,
}

impl<'a> WaitGuard<'a> {
    pub(super) fn new(job: usize, lock: usize, environment: &'a Environment) -> WaitGuard<'a> {
        environment.record(Event::WaitStarted { job, lock });
        WaitGuard { job, lock, record: &environment.record }
    }

    pub(super) fn woken(self) {
        self.record.add(Event::Woken { job: self.job, lock: self.lock });
        std::mem::forget(self);
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.record.add(Event::WaitDropped { job: self.job, lock: self.lock });
    }
}
