//! The events of a random program, in the order in which they happened.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use matou_runtime::{TaskId, now, test};

/// The violations that a random program can commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ViolationKind {
    StillHasChildren,
    NotOwner,
    ResourceLeaked,
}

impl ViolationKind {
    /// The name of the violation in the runtime's report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ViolationKind::StillHasChildren => "StillHasChildren",
            ViolationKind::NotOwner => "NotOwner",
            ViolationKind::ResourceLeaked => "ResourceLeaked",
        }
    }
}

/// The outcome of a job, without its value or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeKind {
    Value,
    Error,
    Panic,
    Cancelled,
    Violation,
}

/// An event. Jobs, resources and locks are identified by their numbers in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The child is about to be spawned with this deadline, in addition to those of its ancestors.
    DeadlineSet { child: usize, deadline: Duration },
    /// The child is about to be spawned as a shield, which may run for `limit` after the cancel
    /// request.
    Shielded { child: usize, limit: Duration },
    /// The child is about to be spawned as one of those with the same `race`, of which the parent
    /// awaits the first.
    RaceEntered { child: usize, race: usize },
    /// The child was spawned. `task` is `None` for main.
    Spawned { parent: usize, child: usize, task: Option<TaskId> },
    /// The job was polled for the first time.
    Started { job: usize },
    /// The job completed one of its steps.
    StepCompleted { job: usize },
    /// The body of the job completed.
    Returned { job: usize, outcome: OutcomeKind },
    /// The future of the job was dropped.
    Dropped { job: usize },
    /// The parent requested the cancellation of the child.
    CancelRequested { child: usize },
    /// `cancel` returned to the parent; `None` if the child was cut off.
    CancelCompleted { child: usize, outcome: Option<OutcomeKind> },
    /// The parent's timeout or deadline elapsed before the child completed.
    TimeoutElapsed { child: usize },
    /// The parent dropped the promise of the child.
    Forgotten { parent: usize, child: usize },
    /// The parent, or another task on its behalf, gave the child up.
    GivenUp { child: usize },
    /// The parent dropped the future that awaits the shield.
    ShieldAbandoned { child: usize },
    /// The parent received the outcome of the child.
    Joined { child: usize, outcome: OutcomeKind },
    /// The parent received the outcome of another child of the race.
    RaceLost { child: usize },
    /// The job created the resource.
    Owned { job: usize, resource: usize },
    /// The job accessed the resource by a shared reference; unless it is the owner, the access
    /// failed.
    Used { job: usize, resource: usize, as_owner: bool },
    /// The job has received the handle of the resource, and used it, so that it became the owner.
    Adopted { job: usize, resource: usize },
    /// The job is about to drop the handle of the resource, which it has received.
    HandleDropped { job: usize, resource: usize },
    /// The parent gave the resource to the child, which is about to be spawned.
    Given { child: usize, resource: usize },
    /// The child transferred the resource to its parent.
    Transferred { child: usize, resource: usize },
    /// The owner released the resource before its own completion.
    Released { resource: usize },
    /// The finalizer of the resource, or the deferred future with this number, was started.
    FinalizerStarted { resource: usize },
    /// The finalizer of the resource, or the deferred future, completed.
    Finalized { resource: usize },
    /// The job deferred a future, which counts as one of its resources.
    Deferred { job: usize, resource: usize },
    /// The job waits for the lock, and does nothing else until it has it.
    AcquisitionStarted { job: usize, lock: usize },
    /// The job stopped waiting for the lock before it had it.
    AcquisitionDropped { job: usize, lock: usize },
    /// The job does something else, and keeps a future that waits for the lock.
    LockSetAside { job: usize, lock: usize },
    /// The job no longer does something else.
    SetAsideEnded { job: usize, lock: usize },
    /// The job acquired the lock.
    Locked { job: usize, lock: usize },
    /// The job is about to release the lock.
    Unlocked { job: usize, lock: usize },
    /// The job waits for the condition of the lock.
    WaitStarted { job: usize, lock: usize },
    /// The job was woken by a signal, and holds the lock again.
    Woken { job: usize, lock: usize },
    /// The wait was dropped before its completion, whether or not a signal had selected it.
    WaitDropped { job: usize, lock: usize },
    /// The timeout of the wait elapsed.
    WaitTimedOut { job: usize, lock: usize },
    /// The condition of the lock was signalled. If no job waited, no job was woken.
    Signalled { lock: usize, woke: bool },
    /// The job committed a violation.
    Violated { job: usize, kind: ViolationKind },
}

/// An event, and the virtual time since the first event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.event, self.at)
    }
}

/// The events of a run. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    started_at: Option<Instant>,
    entries: Vec<Entry>,
}

impl Record {
    pub(crate) fn add(&self, event: Event) {
        // A value that is dropped after the run has no clock: it gets the time of the last event.
        let now = test::simulation().map(|_| now());
        let mut all = self.lock();
        let at = match (all.started_at.or(now), now) {
            (Some(started_at), Some(now)) => {
                all.started_at = Some(started_at);
                now - started_at
            }
            _ => all.entries.last().map_or(Duration::ZERO, |last| last.at),
        };
        all.entries.push(Entry { at, event });
    }

    /// The time of a moment in the record.
    pub(crate) fn time_of(&self, moment: Instant) -> Duration {
        self.lock().started_at.map_or(Duration::ZERO, |started_at| moment - started_at)
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}
