//! Findings: suspicious facts that end nothing.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use matou_ownership::{Leak, ResourceInfo};

use super::text::{list, owner_title};
use super::wait_cycle::{self, CycleMember};
use super::{ChildInfo, TaskInfo};
use crate::task::{BlockedOn, Cause};

/// Something suspicious that breaks no rule and ends nothing (R10).
///
/// A finding is handed to [`Builder::on_report`](crate::Builder::on_report), like a
/// [`Violation`](crate::Violation).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A promise that was never polled was dropped, in the poll that spawned the child or by its
    /// parent's last poll; or the parent's last poll dropped a group with children in it (R1).
    #[non_exhaustive]
    Forgotten {
        /// The child.
        child: ChildInfo,
        /// Its parent.
        parent: TaskInfo,
        /// How many children of this line the parent has forgotten in the same poll.
        count: usize,
        /// When the promise was dropped. A destructor cannot know the line that runs it.
        when: DroppedWhen,
    },
    /// A task that was ending spawned a child, in a destructor or a finalizer. The child was
    /// cancelled before it started.
    #[non_exhaustive]
    SpawnRefused {
        /// The task that was ending.
        task: TaskInfo,
        /// The child.
        child: ChildInfo,
    },
    /// A task failed or panicked, and no task received its outcome: the promise was dropped, or the
    /// task that held it ended.
    #[non_exhaustive]
    FailureUnseen {
        /// The task that failed.
        task: TaskInfo,
        /// Why it ended; at least one.
        causes: Vec<Cause>,
    },
    /// A future of a task was offered what it waits for, a lock for example, and its task was
    /// polled without polling it, because it was set aside. The next waiter has it now (R13).
    #[non_exhaustive]
    DeclinedOffer {
        /// The task.
        task: TaskInfo,
        /// The operation that waits, in a word: `"lock"`, `"push"`, `"pop"`, `"condition"`.
        operation: &'static str,
        /// The call that created the future.
        waiting_at: &'static Location<'static>,
        /// The other wait of the task.
        blocked_on: BlockedOn,
    },
    /// A resource was still alive when the run ended, and was finalized then (R7).
    #[non_exhaustive]
    ResourceAlive {
        /// The resource, its first and its last owner.
        leak: Leak,
    },
    /// A task keeps inheriting resources that one line made and that remain alive (R7).
    #[non_exhaustive]
    ResourcesAccumulate {
        /// One of the resources.
        resource: ResourceInfo,
        /// The task that has inherited them.
        owner: TaskInfo,
    },
    /// A poll took longer than [`Builder::slow_poll`](crate::Builder::slow_poll), and no other task
    /// of its domain ran in the meantime (R11).
    #[non_exhaustive]
    SlowPoll {
        /// The task that was polled; of several ones, the last.
        task: TaskInfo,
        /// How long the poll took, by the clock of the driver; several polls together.
        took: Duration,
        /// How many polls were measured together. If there are several, it is not known which of
        /// them took so long. The next 1,024 are then measured one by one, so a task that is slow
        /// again is named.
        polls: usize,
        /// Where the poll ended: the operation that the task is now blocked on. Unknown if it has
        /// ended or yielded.
        blocked_on: BlockedOn,
    },
    /// A domain has not handled a cancel request for longer than
    /// [`Builder::slow_poll`](crate::Builder::slow_poll), because it was in one poll all the time
    /// (R11). Reported by the domain that sent the request. If the poll ever ends, it is a
    /// [`SlowPoll`](Finding::SlowPoll) too.
    #[non_exhaustive]
    StuckDomain {
        /// The task that is being polled. Its name is known if its parent is on the reporting
        /// domain.
        task: TaskInfo,
        /// For how long at least.
        took: Duration,
        /// The child whose cancellation was requested.
        child: ChildInfo,
        /// Its parent, which may wait for the end of the child.
        parent: TaskInfo,
    },
    /// A blocking job was cancelled, had not ended after the
    /// [grace period](crate::Builder::grace), and was left behind on its thread.
    #[non_exhaustive]
    JobUnfinished {
        /// The task of the job.
        task: TaskInfo,
        /// How long the job had time to end.
        grace: Duration,
    },
    /// Tasks wait for each other in a circle and for nothing else, so none of them can continue
    /// (R14). A task may wait for itself.
    #[non_exhaustive]
    WaitCycle {
        /// Each of them waits for the next one, and the last one for the first.
        members: Vec<CycleMember>,
    },
}

/// When the promise of a forgotten child was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DroppedWhen {
    /// In the poll that spawned the child.
    AtOnce,
    /// By the last poll of the parent, which returned.
    AtEnd,
}

impl Finding {
    /// Returns how often it has occurred.
    pub(super) fn count(&self) -> u64 {
        match self {
            Finding::Forgotten { count, .. } => *count as u64,
            _ => 1,
        }
    }

    /// Returns the name of the finding: `"Forgotten"`, ..
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Forgotten { .. } => "Forgotten",
            Finding::SpawnRefused { .. } => "SpawnRefused",
            Finding::FailureUnseen { .. } => "FailureUnseen",
            Finding::DeclinedOffer { .. } => "DeclinedOffer",
            Finding::ResourceAlive { .. } => "ResourceAlive",
            Finding::ResourcesAccumulate { .. } => "ResourcesAccumulate",
            Finding::SlowPoll { .. } => "SlowPoll",
            Finding::StuckDomain { .. } => "StuckDomain",
            Finding::JobUnfinished { .. } => "JobUnfinished",
            Finding::WaitCycle { .. } => "WaitCycle",
        }
    }

    /// Returns the line that the finding is about. Findings with the same name and line count as
    /// repetitions.
    pub fn at(&self) -> &'static Location<'static> {
        match self {
            Finding::Forgotten { child, .. } | Finding::SpawnRefused { child, .. } => {
                child.spawned_at
            }
            Finding::FailureUnseen { task, .. }
            | Finding::SlowPoll { task, .. }
            | Finding::StuckDomain { task, .. }
            | Finding::JobUnfinished { task, .. } => task.spawned_at,
            Finding::DeclinedOffer { waiting_at, .. } => waiting_at,
            Finding::ResourceAlive { leak } => leak.resource.made_at,
            Finding::ResourcesAccumulate { resource, .. } => resource.made_at,
            Finding::WaitCycle { members } => wait_cycle::place(members),
        }
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warning[{}]: ", self.name())?;
        match self {
            Finding::Forgotten { child, parent, count, when } => {
                let promises = match count {
                    1 => format!("the promise of {}", child.title()),
                    _ => format!("{count} promises, the first of {},", child.title()),
                };
                let when = match when {
                    DroppedWhen::AtOnce => "in the poll that spawned the child",
                    DroppedWhen::AtEnd => "when it returned",
                };
                write!(f, "{parent} dropped {promises} without awaiting it, {when}")
            }
            Finding::SpawnRefused { task, child } => {
                write!(f, "{task} spawned {} while it was ending", child.title())
            }
            Finding::FailureUnseen { task, .. } => {
                write!(f, "{task} failed, and no task received its outcome")
            }
            Finding::DeclinedOffer { task, operation, .. } => {
                write!(
                    f,
                    "{task} was offered what its `{operation}` waits for, and did not take it"
                )
            }
            Finding::ResourceAlive { leak } => {
                let ResourceInfo { kind, id, .. } = &leak.resource;
                write!(f, "{kind} #{id} was still alive when the run ended")
            }
            Finding::ResourcesAccumulate { resource, owner } => {
                let kind = resource.kind;
                write!(f, "{owner} has inherited more than 1,000 living resources ({kind})")
            }
            Finding::SlowPoll { task, took, polls: 1, .. } => {
                write!(f, "a poll of {task} took {took:?}")
            }
            Finding::SlowPoll { took, polls, .. } => {
                write!(
                    f,
                    "{polls} polls of tasks took {took:?} together, perhaps one of them alone"
                )
            }
            Finding::StuckDomain { task, took, .. } => {
                write!(f, "domain {} has been in one poll of {task} for {took:?}", task.domain)
            }
            Finding::JobUnfinished { task, grace } => write!(
                f,
                "the blocking job of {task} did not end within {grace:?} of its cancellation"
            ),
            Finding::WaitCycle { members } => wait_cycle::headline(members, f),
        }
    }

    /// Writes the line that the finding is about.
    fn place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Forgotten { child, .. } | Finding::SpawnRefused { child, .. } => {
                writeln!(f, "  --> {} (where {} was spawned)", self.at(), child.title())
            }
            Finding::SlowPoll { task, polls: 2.., .. } => {
                writeln!(f, "  --> {} (where {task} was spawned, polled last)", self.at())
            }
            Finding::FailureUnseen { task, .. }
            | Finding::SlowPoll { task, .. }
            | Finding::StuckDomain { task, .. }
            | Finding::JobUnfinished { task, .. } => {
                writeln!(f, "  --> {} (where {task} was spawned)", self.at())
            }
            Finding::DeclinedOffer { operation, .. } => {
                writeln!(f, "  --> {} (the `{operation}` that was not polled)", self.at())
            }
            Finding::ResourceAlive { .. } => {
                writeln!(f, "  --> {} (where the resource was made)", self.at())
            }
            Finding::ResourcesAccumulate { .. } => {
                writeln!(f, "  --> {} (where the resources were made)", self.at())
            }
            Finding::WaitCycle { .. } => writeln!(f, "  --> {}", self.at()),
        }
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Forgotten { child, parent, .. } => {
                list(f, "child", std::slice::from_ref(child))?;
                list(f, "child of", &parent.parents)
            }
            Finding::SpawnRefused { task, .. } => {
                writeln!(f, "  = the child was cancelled before it started")?;
                list(f, "child of", &task.parents)
            }
            Finding::FailureUnseen { task, causes } => {
                list(f, "cause", causes)?;
                list(f, "child of", &task.parents)
            }
            Finding::DeclinedOffer { task, blocked_on, .. } => {
                writeln!(f, "  = the task waits for {blocked_on} instead")?;
                writeln!(f, "  = task spawned at {}", task.spawned_at)?;
                list(f, "child of", &task.parents)
            }
            Finding::ResourceAlive { leak } => {
                let owners = [("first", &leak.first_owner), ("last", &leak.last_owner)];
                for (which, owner) in owners {
                    if let Some(owner) = owner {
                        writeln!(f, "  = {which} owner: {}", owner_title(owner))?;
                    }
                }
                Ok(())
            }
            Finding::ResourcesAccumulate { owner, .. } => {
                writeln!(f, "  = {owner} was spawned at {}", owner.spawned_at)?;
                list(f, "child of", &owner.parents)
            }
            Finding::SlowPoll { polls: 2.., .. } => writeln!(
                f,
                "  = the next polls are measured one by one: a task that is slow again is named"
            ),
            Finding::SlowPoll { task, blocked_on, .. } => {
                if *blocked_on != BlockedOn::UNKNOWN {
                    writeln!(f, "  = it ended where the task waits for {blocked_on}")?;
                }
                list(f, "child of", &task.parents)
            }
            Finding::StuckDomain { child, parent, .. } => {
                writeln!(f, "  = {parent} has cancelled a child there, which cannot end")?;
                list(f, "child", std::slice::from_ref(child))?;
                list(f, "child of", &parent.parents)
            }
            Finding::JobUnfinished { task, .. } => {
                writeln!(f, "  = it was left behind on its thread")?;
                list(f, "child of", &task.parents)
            }
            Finding::WaitCycle { members } => wait_cycle::details(members, f),
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Finding::Forgotten { .. } => {
                "await the promise or `cancel().await` it. Children that run in the background go \
                 into `Orphans`. If the child is given up on purpose, say so with `abandon`, or \
                 use `race` or another combinator; `Builder::forgotten(Forgotten::Cancel)` turns \
                 this report off"
            }
            Finding::SpawnRefused { .. } => {
                "a task that is ending cannot wait for children: put the work into the group of a \
                 task that lives longer, with a handle made by `Orphans::spawner`"
            }
            Finding::FailureUnseen { .. } => {
                "await the promise, or handle the error inside the task; children that run in the \
                 background go into `Orphans`, whose `next` returns their outcomes"
            }
            Finding::DeclinedOffer { .. } => {
                "go on polling a future that was polled, or drop it: do not await in a branch of a \
                 `select!` that keeps its other futures; or spawn them"
            }
            Finding::ResourceAlive { .. } => {
                "drop its handle before `main` returns: it is in a `static` or in a cycle, or was \
                 forgotten or returned by `main`; with `Leaks::AtTaskEnd` this is a violation at \
                 the end of its first owner"
            }
            Finding::ResourcesAccumulate { .. } => {
                "drop the handles of ended tasks; if they are kept on purpose, use them once in \
                 the task that keeps them, which makes it the owner"
            }
            Finding::SlowPoll { .. } => {
                "yield now and then with `yield_now`, or move blocking calls to `blocking`; \
                 `Builder::slow_poll` sets the limit"
            }
            Finding::StuckDomain { .. } => {
                "a task is cancelled between two polls: yield now and then with `yield_now`, or \
                 move the work to `blocking`, whose `Stop` flag says that it should end"
            }
            Finding::JobUnfinished { .. } => {
                "look at the job's `Stop` flag between its steps, and give calls that may block \
                 for long a time limit"
            }
            Finding::WaitCycle { .. } => wait_cycle::HELP,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        f.write_str("\n")?;
        self.place(f)?;
        self.details(f)?;
        write!(f, "  = help: {}", self.help())
    }
}
