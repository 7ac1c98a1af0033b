//! The state that the jobs of a run share, and guards that record when they are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use matou_sync::{Condition, MutexGuard, Queue, Semaphore, SemaphorePermit};

use super::generate::{LOCKS, PERMITS, PRIVATE_LOCKS, QUEUES};
use super::primitives::Primitives;
use crate::event::{Event, Target};
use crate::record::Record;
use crate::resource::{AnyHandle, Posted};
use crate::settings::Settings;

/// The number of values that a queue holds at most.
pub(crate) fn capacity(queue: usize) -> usize {
    queue + 1
}

/// The state that the jobs of a run share. Clones share it.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) record: Record,
    pub(crate) settings: Settings,
    shared: Arc<Shared>,
}

struct Shared {
    /// Those that all jobs use, and those of circles.
    locks: [matou_sync::Mutex<()>; LOCKS as usize + PRIVATE_LOCKS],
    /// The conditions of the locks that all jobs use.
    conditions: [Condition; LOCKS as usize],
    /// A handle of each resource. It outlives the run, so that a resource is never finalized
    /// because its last handle was dropped: only its owner can finalize it.
    resources: Mutex<BTreeMap<usize, AnyHandle>>,
    queues: [Queue<usize>; QUEUES as usize],
    semaphore: Semaphore,
    primitives: Primitives,
    /// Handles that a job has sent and no job has taken.
    mailbox: Queue<Posted>,
}

impl Environment {
    pub(crate) fn new(settings: Settings) -> Environment {
        let shared = Shared {
            locks: Default::default(),
            conditions: Default::default(),
            resources: Mutex::default(),
            queues: std::array::from_fn(|queue| Queue::bounded(capacity(queue))),
            semaphore: Semaphore::new(PERMITS),
            primitives: Primitives::new(),
            mailbox: Queue::unbounded(),
        };
        Environment { record: Record::default(), settings, shared: Arc::new(shared) }
    }

    pub(super) fn record(&self, event: Event) {
        self.record.add(event);
    }

    pub(super) fn lock(&self, number: usize) -> &matou_sync::Mutex<()> {
        &self.shared.locks[number]
    }

    pub(super) fn queue(&self, number: usize) -> &Queue<usize> {
        &self.shared.queues[number]
    }

    pub(super) fn semaphore(&self) -> &Semaphore {
        &self.shared.semaphore
    }

    pub(super) fn primitives(&self) -> &Primitives {
        &self.shared.primitives
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

    pub(super) fn post(&self, handle: Posted) {
        self.shared.mailbox.try_push(handle).expect("the mailbox has no limit");
    }

    pub(super) fn take(&self) -> Option<Posted> {
        self.shared.mailbox.try_pop().ok()
    }

    fn resources(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, AnyHandle>> {
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

/// A lock that a job holds.
pub(super) struct Held<'a> {
    /// Dropped before the lock is released.
    pub(super) guard: LockGuard<'a>,
    pub(super) locked: MutexGuard<'a, ()>,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        job: usize,
        lock: usize,
        environment: &'a Environment,
        locked: MutexGuard<'a, ()>,
    ) -> Held<'a> {
        Held { guard: LockGuard::new(job, lock, environment), locked }
    }
}

/// Records that a job waits for a target, and whether it stops waiting without it.
pub(super) struct AcquisitionGuard<'a> {
    job: usize,
    target: Target,
    record: &'a Record,
}

impl<'a> AcquisitionGuard<'a> {
    pub(super) fn new(job: usize, target: Target, environment: &'a Environment) -> Self {
        environment.record(Event::AcquisitionStarted { job, target });
        AcquisitionGuard { job, target, record: &environment.record }
    }

    /// The job records next that it has the target.
    pub(super) fn acquired(self) {
        std::mem::forget(self);
    }
}

impl Drop for AcquisitionGuard<'_> {
    fn drop(&mut self) {
        self.record.add(Event::AcquisitionDropped { job: self.job, target: self.target });
    }
}

/// Records that the future of a wait that was set aside is dropped.
pub(super) struct AsideGuard<'a> {
    job: usize,
    target: Target,
    record: &'a Record,
}

impl<'a> AsideGuard<'a> {
    pub(super) fn new(job: usize, target: Target, environment: &'a Environment) -> Self {
        AsideGuard { job, target, record: &environment.record }
    }

    /// The job has the target, or records next that it polls the future again.
    pub(super) fn ended(self) {
        std::mem::forget(self);
    }
}

impl Drop for AsideGuard<'_> {
    fn drop(&mut self) {
        self.record.add(Event::SetAsideDropped { job: self.job, target: self.target });
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

/// Permits that a job holds. Records when they are returned.
pub(super) struct HeldPermits<'a> {
    job: usize,
    record: &'a Record,
    /// Dropped after the return is recorded.
    _permits: SemaphorePermit<'a>,
}

impl<'a> HeldPermits<'a> {
    pub(super) fn new(
        job: usize,
        permits: SemaphorePermit<'a>,
        environment: &'a Environment,
    ) -> HeldPermits<'a> {
        environment.record(Event::PermitsAcquired { job, amount: permits.permits() });
        HeldPermits { job, record: &environment.record, _permits: permits }
    }
}

impl Drop for HeldPermits<'_> {
    fn drop(&mut self) {
        self.record.add(Event::PermitsReturned { job: self.job });
    }
}
