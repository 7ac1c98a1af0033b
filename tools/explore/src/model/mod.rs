//! The rules R1 to R8, R10, R13 and R14 as a model, as simple as possible: it reads the events of a
//! run from the first to the last, and each must be allowed by those before it.
//!
//! - `termination`: when a job may be cancelled, and when it must have been.
//! - `resources`: the owner of each resource, and the order of finalizers.
//! - `wait_queues`: the holders of locks, and the jobs that wait for a condition.
//! - `primitives`: reader-writer locks, triggers, the barrier, cells and computations.
//! - `offers`, `circles`: the jobs that wait for locks and queues, and for each other.
//! - `findings`: the reports of the runtime.
//! - `outcome`: the outcome of the run.

mod circles;
mod findings;
mod offers;
mod outcome;
mod primitives;
mod resources;
mod termination;
#[cfg(test)]
mod tests;
mod wait_queues;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::time::Duration;

use matou_runtime::{RunError, TaskId};

use crate::event::{Event, OutcomeKind, Report, Target, ViolationKind};
use crate::record::Entry;
use crate::settings::Settings;
use circles::Circle;
use offers::Line;
use primitives::Primitives;
use resources::ResourceState;
use wait_queues::WaitQueue;

/// The state of a job, as far as the model knows it.
#[derive(Debug, Default)]
struct JobState {
    parent: usize,
    /// Whether it is on the domain of its parent.
    is_local: bool,
    children: Vec<usize>,
    id: Option<TaskId>,
    started: bool,
    /// Whether its future was dropped.
    dropped: bool,
    returned: Option<OutcomeKind>,
    returned_at: Option<Duration>,
    /// When the job itself, not an ancestor, was requested to end.
    end_requested_at: Option<Duration>,
    /// The deadline that its parent has set for it.
    own_deadline: Option<Duration>,
    /// The earliest of its own deadline and those it inherited.
    deadline: Option<Duration>,
    /// For a shield, its limit after the completion of its parent.
    shield: Option<Duration>,
    /// The race it takes part in.
    race: Option<usize>,
    /// Whether its parent, or the parent of an ancestor, observed the completion. From then on the
    /// job must not run.
    complete: bool,
    /// The resources it owns and the futures it deferred, oldest first.
    owns: Vec<usize>,
    /// Whether it committed a violation in the middle of its body, and must not run again.
    stopped: bool,
    /// Whether its last wait was dropped although a signal had selected the job in time.
    signal_lost: bool,
    /// Whether it must not leave resources behind, whatever the settings of the run.
    strict_resources: bool,
    /// Whether its parent received its outcome.
    joined: bool,
    /// Whether its parent forgot it, or leaked its promise.
    forgotten: bool,
    leaked: bool,
}

/// The state that the events so far imply.
#[derive(Debug, Default)]
struct Model {
    settings: Settings,
    /// The time of the current event.
    now: Duration,
    jobs: BTreeMap<usize, JobState>,
    resources: BTreeMap<usize, ResourceState>,
    /// The job that holds each lock.
    lock_holders: BTreeMap<usize, usize>,
    wait_queues: BTreeMap<usize, WaitQueue>,
    /// The values in each queue.
    queues: BTreeMap<usize, VecDeque<usize>>,
    lines: BTreeMap<Target, Line>,
    primitives: Primitives,
    /// The number of permits that each job holds.
    permits: BTreeMap<usize, usize>,
    /// The datagrams that are on their way to each job.
    datagrams: BTreeMap<usize, VecDeque<u8>>,
    /// The bytes or datagrams that a child sends to each job over a Unix socket.
    unix: BTreeMap<usize, usize>,
    /// The parents of the blocking jobs that run; one for each.
    blocking: Vec<usize>,
    /// The child for which each of these jobs has begun to wait.
    awaited: BTreeMap<usize, usize>,
    circles: Vec<Circle>,
    violations: Vec<(usize, ViolationKind)>,
    /// When a violation was reported that failed the run.
    run_failed_at: Option<Duration>,
    /// What the runtime has reported.
    reports: Vec<Report>,
}

/// Checks the events of a random program.
///
/// # Errors
///
/// Returns the first event that violates a rule, with the rule.
pub(crate) fn check<T, E: Display + 'static>(
    settings: Settings,
    events: &[Entry],
    outcome: &Result<T, RunError<E>>,
) -> Result<(), String> {
    let mut model = Model { settings, ..Model::default() };
    for (index, entry) in events.iter().enumerate() {
        model.now = entry.at;
        let result = model.check_progress().and_then(|()| model.apply(&entry.event));
        result.map_err(|why| format!("event {index}, {entry:?}: {why}"))?;
    }
    // After a deadlock no job has completed, so report it before the checks of the final state.
    match outcome {
        Err(RunError::Deadlock(deadlock)) => Err(format!("deadlock: {deadlock}")),
        Err(RunError::TickLimit(ticks)) => Err(format!("not complete after {ticks} ticks")),
        _ => {
            model.check_final_state()?;
            model.check_outcome(outcome)
        }
    }
}

type CheckResult = Result<(), String>;

impl Model {
    /// Checks what should have happened before the current event.
    fn check_progress(&mut self) -> CheckResult {
        self.check_waiting()?;
        self.check_circles()?;
        self.check_dropped_handles()
    }

    fn job(&mut self, number: usize) -> &mut JobState {
        self.jobs.entry(number).or_default()
    }

    fn apply(&mut self, event: &Event) -> CheckResult {
        match *event {
            Event::DeadlineSet { child, deadline } => {
                self.job(child).own_deadline = Some(deadline);
            }
            Event::Shielded { child, limit } => self.job(child).shield = Some(limit),
            Event::StrictResources { child } => self.job(child).strict_resources = true,
            Event::Leaked { child } => self.job(child).leaked = true,
            Event::RaceEntered { child, race } => self.job(child).race = Some(race),
            Event::Spawned { parent, child, task, is_local } => {
                self.job(child).is_local = is_local;
                return self.spawned(parent, child, task);
            }
            Event::Started { job } => return self.started(job),
            Event::StepCompleted { job } => return self.check_may_run(job),
            Event::Returned { job, outcome } => return self.returned(job, outcome),
            Event::Dropped { job } => return self.dropped(job),
            Event::CancelRequested { child }
            | Event::GivenUp { child }
            | Event::LoserGivenUp { child } => self.request_end(child),
            Event::TimeoutElapsed { child } => return self.timeout_elapsed(child),
            Event::Forgotten { child, .. } => {
                self.job(child).forgotten = true;
                self.request_end(child);
            }
            Event::ShieldAbandoned { .. } => {}
            Event::CancelCompleted { child, outcome } => {
                return self.cancel_completed(child, outcome);
            }
            Event::Submitted { parent, child } => {
                self.job(child).is_local = true;
                return self.spawned(parent, child, None);
            }
            Event::BlockingStarted { job } => return self.blocking_started(job),
            Event::BlockingEnded { job, was_stopped, must_stop } => {
                ensure(was_stopped || !must_stop, || "R5: a job is not asked to stop".into())?;
                return self.blocking_ended(job);
            }
            Event::DatagramSent { job, number } => {
                self.datagrams.entry(job).or_default().push_back(number);
            }
            Event::DatagramReceived { job, number } => return self.received_datagram(job, number),
            Event::UnixSent { job, amount } => drop(self.unix.insert(job, amount)),
            Event::UnixReceived { job, amount } => {
                let sent = self.unix.get(&job);
                return ensure(sent == Some(&amount), || format!("{sent:?} were sent"));
            }
            Event::Primitive(event) => return self.apply_to_primitive(event),
            Event::ChildAwaited { job, child } => {
                self.awaited.insert(job, child);
                self.note_circle(job);
            }
            Event::Joined { child, outcome } => return self.joined(child, outcome),
            Event::RaceLost { child } => return self.completed(child, "R3: the race is decided"),
            Event::Violated { job, kind } => self.violated(job, kind),
            Event::Reported(report) => return self.reported(report),
            _ => return self.apply_to_resources(event),
        }
        Ok(())
    }

    /// Applies the events of resources, locks and conditions.
    fn apply_to_resources(&mut self, event: &Event) -> CheckResult {
        match *event {
            Event::Owned { job, resource, ticket } => {
                self.owned(job, resource);
                self.resource(resource).ticket = Some(ticket);
                Ok(())
            }
            Event::Deferred { job, resource } => {
                self.owned(job, resource);
                self.resource(resource).stays = true;
                Ok(())
            }
            Event::Used { job, resource, as_owner } => self.used(job, resource, as_owner),
            Event::Adopted { job, resource } => self.adopted(job, resource),
            Event::HandleDropped { job, resource } => self.handle_dropped(job, resource),
            Event::Given { child, resource } => {
                self.resource(resource).stays = true;
                self.moved(resource, child)
            }
            Event::Transferred { child, resource } => {
                let parent = self.job(child).parent;
                self.moved(resource, parent)
            }
            Event::Released { resource } => self.released(resource),
            Event::FinalizerStarted { resource } => self.finalizer_started(resource),
            Event::Finalized { resource } => self.finalized(resource),
            Event::AcquisitionStarted { job, target } => self.acquisition_started(job, target),
            Event::AcquisitionDropped { job, target } => self.acquisition_dropped(job, target),
            Event::SetAside { job, target } => self.set_aside(job, target),
            Event::SetAsideEnded { job, target } => self.set_aside_ended(job, target),
            Event::SetAsideDropped { job, target } => {
                self.set_aside_dropped(job, target);
                Ok(())
            }
            Event::PermitsAcquired { job, amount } => self.permits_acquired(job, amount),
            Event::PermitsReturned { job } => self.permits_returned(job),
            Event::Pushed { job, queue, value } => self.pushed(job, queue, value),
            Event::Popped { job, queue, value } => self.popped(job, queue, value),
            Event::Locked { job, lock } => self.locked(job, lock),
            Event::Unlocked { job, lock } => self.unlocked(job, lock),
            Event::WaitStarted { job, lock } => self.wait_started(job, lock),
            Event::Woken { job, lock } => self.woken(job, lock),
            Event::WaitDropped { job, lock } => self.wait_dropped(job, lock),
            Event::WaitTimedOut { job, .. } => {
                ensure(!self.job(job).signal_lost, || "the signal was lost".into())
            }
            Event::Signalled { lock, woke } => self.signalled(lock, woke),
            _ => unreachable!("{event:?} concerns jobs only"),
        }
    }

    fn spawned(&mut self, parent: usize, child: usize, id: Option<TaskId>) -> CheckResult {
        if child != 0 {
            self.check_may_run(parent)?;
            self.job(parent).children.push(child);
        }
        let inherited = self.job(parent).deadline;
        let state = self.job(child);
        state.parent = parent;
        state.id = id;
        state.deadline = match state.shield {
            Some(_) => None,
            None => state.own_deadline.into_iter().chain(inherited).min(),
        };
        Ok(())
    }

    fn started(&mut self, job: usize) -> CheckResult {
        self.check_may_run(job)?;
        let state = self.job(job);
        ensure(!state.started, || "a task starts once".into())?;
        state.started = true;
        let owns = state.owns.clone();
        let lost = owns.into_iter().find(|number| self.resource(*number).finalizer_started);
        ensure(lost.is_none(), || format!("R7: {lost:?} of job {job} is finalized already"))
    }

    fn returned(&mut self, job: usize, outcome: OutcomeKind) -> CheckResult {
        self.check_may_run(job)?;
        let now = self.now;
        let state = self.job(job);
        state.returned = Some(outcome);
        state.returned_at = Some(now);
        Ok(())
    }

    /// R3, R5, R10: a job does not run once it is complete, dropped, in violation or past its
    /// latest end.
    fn check_may_run(&mut self, job: usize) -> CheckResult {
        let now = self.now;
        let latest = self.latest_end(job);
        let state = self.job(job);
        let has_ended = state.complete || state.dropped;
        ensure(!has_ended, || format!("R3: job {job} runs after its completion"))?;
        ensure(!state.stopped, || format!("R10: job {job} runs after its violation"))?;
        ensure(latest.is_none_or(|latest| now <= latest), || {
            format!("job {job} should have been cancelled by {latest:?}")
        })
    }

    fn dropped(&mut self, job: usize) -> CheckResult {
        let state = self.job(job);
        ensure(!state.dropped, || "a future is dropped once".into())?;
        state.dropped = true;
        if state.returned.is_some() {
            return Ok(());
        }
        // R5: the children of a cancelled job complete before its future is dropped.
        let children = state.children.clone();
        self.check_may_end(job)?;
        children
            .into_iter()
            .try_for_each(|child| self.check_ended(child, "R5: the future is dropped"))
    }

    /// R6: `cancel` returns after the child is complete, with its outcome unless it was cut off.
    fn cancel_completed(&mut self, child: usize, outcome: Option<OutcomeKind>) -> CheckResult {
        self.completed(child, "R6: cancel returned")?;
        let expected = self.outcome_of(child);
        self.job(child).joined = true;
        // After a violation the run is shut down, and an outcome may be lost.
        let is_shut_down = self.settings.fails_run && !self.violations.is_empty();
        ensure(outcome == expected || is_shut_down, || {
            format!("R6: job {child} ended with {expected:?}, cancel returned {outcome:?}")
        })
    }

    fn joined(&mut self, child: usize, outcome: OutcomeKind) -> CheckResult {
        self.completed(child, "R3: the parent has the outcome")?;
        let ended = self.outcome_of(child);
        self.job(child).joined = true;
        let expected = ended.unwrap_or(OutcomeKind::Cancelled);
        ensure(outcome == expected, || format!("job {child} ended with {expected:?}"))?;
        if ended.is_none() { self.check_may_end(child) } else { Ok(()) }
    }

    /// How a job ended; `None` if it was cut off. R10: a violation comes first.
    fn outcome_of(&mut self, job: usize) -> Option<OutcomeKind> {
        let has_violated = self.violations.iter().any(|(offender, _)| *offender == job);
        if has_violated { Some(OutcomeKind::Violation) } else { self.job(job).returned }
    }

    fn violated(&mut self, job: usize, kind: ViolationKind) {
        self.violations.push((job, kind));
        if kind == ViolationKind::NotOwner {
            self.job(job).stopped = true;
            self.request_end(job);
        }
        if self.settings.fails_run {
            self.request_end(0);
        }
    }

    /// R3: a job and its descendants have ended, and their resources are finalized.
    fn check_ended(&mut self, job: usize, when: &str) -> CheckResult {
        let is_blocking = self.blocking.contains(&job);
        ensure(!is_blocking, || format!("{when}, but a blocking job of job {job} has not ended"))?;
        let state = self.job(job);
        let ended = state.dropped || !state.started;
        ensure(ended, || format!("{when}, but job {job} has not ended"))?;
        let (owns, children) = (state.owns.clone(), state.children.clone());
        for resource in owns {
            let settled = self.resource(resource).finalized || self.may_pass_on(resource);
            ensure(settled, || format!("{when}, but {resource} of job {job} is not finalized"))?;
        }
        children.into_iter().try_for_each(|child| self.check_ended(child, when))
    }

    /// R3, R5: a blocking job is a child. Its parent ends after it.
    fn blocking_started(&mut self, job: usize) -> CheckResult {
        self.blocking.push(job);
        let state = self.job(job);
        let has_ended = state.complete || state.dropped && state.returned.is_none();
        ensure(!has_ended, || format!("R3: the parent of a blocking job, {job}, has ended"))
    }

    fn blocking_ended(&mut self, job: usize) -> CheckResult {
        let Some(index) = self.blocking.iter().position(|parent| *parent == job) else {
            return Err("a blocking job ends once".into());
        };
        self.blocking.swap_remove(index);
        Ok(())
    }

    /// Without faults of the network, datagrams arrive once and in order.
    fn received_datagram(&mut self, job: usize, number: u8) -> CheckResult {
        let sent = self.datagrams.entry(job).or_default().pop_front();
        ensure(sent == Some(number), || format!("datagram {number} arrives instead of {sent:?}"))
    }

    /// A parent observed the completion of a job: the job and its descendants have ended, and those
    /// that have not started must not start any more.
    fn completed(&mut self, job: usize, when: &str) -> CheckResult {
        self.check_ended(job, when)?;
        let mut rest = vec![job];
        while let Some(job) = rest.pop() {
            let state = self.job(job);
            state.complete = true;
            rest.extend(&state.children);
        }
        Ok(())
    }

    /// The parent no longer waits for a child. If it has set a deadline for the child, that is the
    /// cause of the child's end.
    fn timeout_elapsed(&mut self, child: usize) -> CheckResult {
        let now = self.now;
        match self.job(child).own_deadline {
            Some(deadline) => ensure(deadline <= now, || "the deadline is in the future".into()),
            None => {
                self.request_end(child);
                Ok(())
            }
        }
    }

    /// After the run all jobs have ended, and no resource, lock or waiter remains.
    fn check_final_state(&mut self) -> CheckResult {
        self.check_ended(0, "the run is complete")?;
        let remaining = self.resources.iter().filter(|(_, state)| !state.finalized);
        let remaining: Vec<_> = remaining.collect();
        ensure(remaining.is_empty(), || format!("R8: never finalized: {remaining:?}"))?;
        let holders = &self.lock_holders;
        ensure(holders.is_empty(), || format!("locks are still held: {holders:?}"))?;
        let queues = &self.wait_queues;
        let no_waiters = queues.values().all(WaitQueue::is_empty);
        ensure(no_waiters, || format!("jobs still wait for a condition: {queues:?}"))?;
        self.check_primitives_left()?;
        self.check_no_waiters()?;
        self.check_reports()
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> CheckResult {
    if holds { Ok(()) } else { Err(why()) }
}
