//! The events in the run of a random program.

use std::time::Duration;

use crate::primitive_event::PrimitiveEvent;
use matou_runtime::{CycleMember, Diagnostic, Finding, TaskId, TaskInfo, Violation};

/// The violations that a random program can commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ViolationKind {
    StillHasChildren,
    NotOwner,
    ResourceLeaked,
}

impl ViolationKind {
    /// The kind of a violation that the runtime reports.
    pub(crate) fn of(violation: &Violation) -> Option<ViolationKind> {
        match violation {
            Violation::StillHasChildren { .. } => Some(ViolationKind::StillHasChildren),
            Violation::NotOwner { .. } => Some(ViolationKind::NotOwner),
            Violation::ResourceLeaked { .. } => Some(ViolationKind::ResourceLeaked),
            _ => None,
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

/// What a job waits for. If it is offered to a job that does not take it, another one gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The lock with this number.
    Lock(usize),
    /// A free slot of the queue with this number.
    Slot(usize),
    /// A value of the queue with this number.
    Value(usize),
    /// So many permits of the semaphore.
    Permits(usize),
    /// The reader-writer lock with this number, for reading.
    Read(usize),
    /// The reader-writer lock with this number, for writing.
    Write(usize),
    /// A signal of the trigger with this number.
    Trigger(usize),
    /// Other jobs at the barrier.
    Barrier,
    /// The value of the cell with this number, or the right to compute it.
    Cell(usize),
    /// The end of the computation of the job with this number.
    Computation(usize),
}

impl Target {
    /// The operation that waits for it, as reports name it.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Target::Lock(_) => "lock",
            Target::Slot(_) => "push",
            Target::Value(_) => "pop",
            // A reader-writer lock and a cell are built on a semaphore.
            Target::Permits(_) | Target::Read(_) | Target::Write(_) | Target::Cell(_) => "acquire",
            Target::Trigger(_) => "trigger",
            Target::Barrier => "barrier",
            Target::Computation(_) => "computation",
        }
    }
}

/// A report of the runtime. Main is the task `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Violation {
        task: Option<TaskId>,
        kind: ViolationKind,
    },
    /// The parent has forgotten so many children in one poll. The first one is named.
    Forgotten {
        parent: Option<TaskId>,
        child: TaskId,
        count: usize,
    },
    FailureUnseen {
        task: Option<TaskId>,
    },
    DeclinedOffer {
        task: Option<TaskId>,
        operation: &'static str,
    },
    /// The ticket of the resource has this number.
    ResourceAlive {
        ticket: u64,
    },
    /// One task of a circle, which waits for the next one.
    WaitCycle {
        task: Option<TaskId>,
        next: Option<TaskId>,
    },
    /// No random program causes a report of this name.
    Other(&'static str),
}

impl Report {
    /// Translates a diagnostic. A circle yields one report for each of its tasks.
    pub(crate) fn of(diagnostic: &Diagnostic) -> Vec<Report> {
        let report = match diagnostic {
            Diagnostic::Violation(violation) => match ViolationKind::of(violation) {
                Some(kind) => Report::Violation { task: task_id(violation.task()), kind },
                None => Report::Other(violation.name()),
            },
            Diagnostic::Finding(Finding::WaitCycle { members, .. }) => {
                let next = members.iter().cycle().skip(1);
                let id = |member: &CycleMember| task_id(&member.task);
                let edge = |(task, next)| Report::WaitCycle { task: id(task), next: id(next) };
                return members.iter().zip(next).map(edge).collect();
            }
            Diagnostic::Finding(finding) => Report::of_finding(finding),
            other => Report::Other(other.name()),
        };
        vec![report]
    }

    fn of_finding(finding: &Finding) -> Report {
        match finding {
            Finding::Forgotten { child, parent, count, .. } => {
                Report::Forgotten { parent: task_id(parent), child: child.id, count: *count }
            }
            Finding::FailureUnseen { task, .. } => Report::FailureUnseen { task: task_id(task) },
            Finding::DeclinedOffer { task, operation, .. } => {
                Report::DeclinedOffer { task: task_id(task), operation }
            }
            Finding::ResourceAlive { leak, .. } => {
                Report::ResourceAlive { ticket: leak.resource.id }
            }
            other => Report::Other(other.name()),
        }
    }
}

/// The id of a task; `None` for main, whose id the jobs do not know.
pub(crate) fn task_id(task: &TaskInfo) -> Option<TaskId> {
    (task.name.as_deref() != Some("main")).then_some(task.id)
}

/// An event. Jobs, resources and locks are identified by their numbers in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The child is about to be spawned with this deadline, in addition to those of its ancestors.
    DeadlineSet {
        child: usize,
        deadline: Duration,
    },
    /// The child is about to be spawned as a shield, which may run for `limit` after the cancel
    /// request.
    Shielded {
        child: usize,
        limit: Duration,
    },
    /// The child is about to be spawned as one of those with the same `race`, of which the parent
    /// awaits the first.
    RaceEntered {
        child: usize,
        race: usize,
    },
    /// The child was spawned, on the domain of its parent or on another one. `task` is `None` for
    /// main.
    Spawned {
        parent: usize,
        child: usize,
        task: Option<TaskId>,
        is_local: bool,
    },
    /// The job was polled for the first time.
    Started {
        job: usize,
    },
    /// The job completed one of its steps.
    StepCompleted {
        job: usize,
    },
    /// The body of the job completed.
    Returned {
        job: usize,
        outcome: OutcomeKind,
    },
    /// The future of the job was dropped.
    Dropped {
        job: usize,
    },
    /// The parent requested the cancellation of the child.
    CancelRequested {
        child: usize,
    },
    /// `cancel` returned to the parent; `None` if the child was cut off.
    CancelCompleted {
        child: usize,
        outcome: Option<OutcomeKind>,
    },
    /// The parent's timeout or deadline elapsed before the child completed.
    TimeoutElapsed {
        child: usize,
    },
    /// The child is about to be spawned as a task that must not leave resources behind.
    StrictResources {
        child: usize,
    },
    /// The parent dropped the promise of the child.
    Forgotten {
        parent: usize,
        child: usize,
    },
    /// The parent leaked the promise of the child.
    Leaked {
        child: usize,
    },
    /// The parent, or another task on its behalf, gave the child up.
    GivenUp {
        child: usize,
    },
    /// The parent dropped the future that awaits the shield.
    ShieldAbandoned {
        child: usize,
    },
    /// The parent received the outcome of the child.
    Joined {
        child: usize,
        outcome: OutcomeKind,
    },
    /// The parent received the outcome of another child of the race.
    RaceLost {
        child: usize,
    },
    /// The job created the resource, whose ticket has this number.
    Owned {
        job: usize,
        resource: usize,
        ticket: u64,
    },
    /// The job accessed the resource by a shared reference; unless it is the owner, the access
    /// failed.
    Used {
        job: usize,
        resource: usize,
        as_owner: bool,
    },
    /// The job has received the handle of the resource, and used it, so that it became the owner.
    Adopted {
        job: usize,
        resource: usize,
    },
    /// The job is about to drop the handle of the resource, which it has received.
    HandleDropped {
        job: usize,
        resource: usize,
    },
    /// The parent gave the resource to the child, which is about to be spawned.
    Given {
        child: usize,
        resource: usize,
    },
    /// The child transferred the resource to its parent.
    Transferred {
        child: usize,
        resource: usize,
    },
    /// The owner released the resource before its own completion.
    Released {
        resource: usize,
    },
    /// The finalizer of the resource, or the deferred future with this number, was started.
    FinalizerStarted {
        resource: usize,
    },
    /// The finalizer of the resource, or the deferred future, completed.
    Finalized {
        resource: usize,
    },
    /// The job deferred a future, which counts as one of its resources.
    Deferred {
        job: usize,
        resource: usize,
    },
    /// The job waits for the target, and from now on polls the future whenever it is polled.
    AcquisitionStarted {
        job: usize,
        target: Target,
    },
    /// The job stopped waiting for the target before it had it.
    AcquisitionDropped {
        job: usize,
        target: Target,
    },
    /// The job does something else, and keeps a future that waits for the target.
    SetAside {
        job: usize,
        target: Target,
    },
    /// The job no longer does something else.
    SetAsideEnded {
        job: usize,
        target: Target,
    },
    /// The job was cancelled while it did something else, and drops the future.
    SetAsideDropped {
        job: usize,
        target: Target,
    },
    /// Another branch of a race has completed, and the parent has given the child up.
    LoserGivenUp {
        child: usize,
    },
    /// A child of the job is about to send so many bytes or datagrams to it, over a Unix socket.
    UnixSent {
        job: usize,
        amount: usize,
    },
    /// The job received so many bytes or datagrams over a Unix socket.
    UnixReceived {
        job: usize,
        amount: usize,
    },
    /// An event of a reader-writer lock, a trigger, a barrier, a cell or a computation.
    Primitive(PrimitiveEvent),
    /// The job waits for the child, and for nothing else.
    ChildAwaited {
        job: usize,
        child: usize,
    },
    /// The job acquired so many permits of the semaphore.
    PermitsAcquired {
        job: usize,
        amount: usize,
    },
    /// The job is about to return its permits.
    PermitsReturned {
        job: usize,
    },
    /// A blocking child of the job has started.
    BlockingStarted {
        job: usize,
    },
    /// A blocking child of the job is about to end, because it was asked to stop or not. With
    /// `must_stop` it waits for that.
    BlockingEnded {
        job: usize,
        was_stopped: bool,
        must_stop: bool,
    },
    /// The job is about to send this datagram to itself.
    DatagramSent {
        job: usize,
        number: u8,
    },
    DatagramReceived {
        job: usize,
        number: u8,
    },
    /// The job submits the child to its group, by a spawner.
    Submitted {
        parent: usize,
        child: usize,
    },
    /// The job pushed the value to the queue.
    Pushed {
        job: usize,
        queue: usize,
        value: usize,
    },
    /// The job popped the value from the queue.
    Popped {
        job: usize,
        queue: usize,
        value: usize,
    },
    /// The job acquired the lock.
    Locked {
        job: usize,
        lock: usize,
    },
    /// The job is about to release the lock.
    Unlocked {
        job: usize,
        lock: usize,
    },
    /// The job waits for the condition of the lock.
    WaitStarted {
        job: usize,
        lock: usize,
    },
    /// The job was woken by a signal, and holds the lock again.
    Woken {
        job: usize,
        lock: usize,
    },
    /// The wait was dropped before its completion, whether or not a signal had selected it.
    WaitDropped {
        job: usize,
        lock: usize,
    },
    /// The timeout of the wait elapsed.
    WaitTimedOut {
        job: usize,
        lock: usize,
    },
    /// The condition of the lock was signalled. If no job waited, no job was woken.
    Signalled {
        lock: usize,
        woke: bool,
    },
    /// The job committed a violation.
    Violated {
        job: usize,
        kind: ViolationKind,
    },
    /// The runtime reported a violation or a finding.
    Reported(Report),
}
