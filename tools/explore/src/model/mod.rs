//! The rules R1 to R8, R10 and R13 as a model, as simple as possible: it reads the events of a run
//! from the first to the last, and each must be allowed by those before it.
//!
//! - `termination`: when a job may be cancelled, and when it must have been.
//! - `resources`: the owner of each resource, and the order of finalizers.
//! - `wait_queues`: the holders of locks, and the jobs that wait for a condition.
//! - `outcome`: the outcome of the run.

mod outcome;
mod resources;
mod termination;
#[cfg(test)]
mod tests;
mod wait_queues;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use matou_runtime::{RunError, TaskId};

use crate::record::{Entry, Event, OutcomeKind, ViolationKind};
use resources::ResourceState;
use wait_queues::WaitQueue;

/// The state of a job, as far as the model knows it.
#[derive(Debug, Default)]
struct JobState {
    parent: usize,
    children: Vec<usize>,
    id: Option<TaskId>,
    started: bool,
    /// Whether its future was dropped.
    dropped: bool,
    returned: Option<OutcomeKind>,
    returned_at: Option<Duration>,
    /// When the job itself, not an ancestor, was requested to end.
    end_requested_at: Option<Duration>,
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
}

/// The state that the events so far imply.
#[derive(Debug, Default)]
struct Model {
    /// Whether a job must not leave resources behind.
    is_strict: bool,
    /// The time of the current event.
    now: Duration,
    jobs: BTreeMap<usize, JobState>,
    resources: BTreeMap<usize, ResourceState>,
    /// The job that holds each lock.
    lock_holders: BTreeMap<usize, usize>,
    wait_queues: BTreeMap<usize, WaitQueue>,
    violations: Vec<(usize, ViolationKind)>,
}

/// Checks the events of a random program. In a strict run a job must not leave resources behind;
/// otherwise they pass to its parent.
///
/// # Errors
///
/// Returns the first event that violates a rule, with the rule.
pub(crate) fn check<T, E: Display>(
    is_strict: bool,
    events: &[Entry],
    outcome: &Result<T, RunError<E>>,
) -> Result<(), String> {
    let mut model = Model { is_strict, ..Model::default() };
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
    fn check_progress(&self) -> CheckResult {
        self.check_locks()?;
        self.check_dropped_handles()
    }

    fn job(&mut self, number: usize) -> &mut JobState {
        self.jobs.entry(number).or_default()
    }

    fn apply(&mut self, event: &Event) -> CheckResult {
        match *event {
            Event::DeadlineSet { child, deadline } => self.job(child).deadline = Some(deadline),
            Event::Shielded { child, limit } => self.job(child).shield = Some(limit),
            Event::RaceEntered { child, race } => self.job(child).race = Some(race),
            Event::Spawned { parent, child, task } => return self.spawned(parent, child, task),
            Event::Started { job } => return self.started(job),
            Event::StepCompleted { job } => return self.check_may_run(job),
            Event::Returned { job, outcome } => return self.returned(job, outcome),
            Event::Dropped { job } => return self.dropped(job),
            Event::CancelRequested { child }
            | Event::TimeoutElapsed { child }
            | Event::GivenUp { child }
            | Event::Forgotten { child, .. } => self.request_end(child),
            Event::ShieldAbandoned { .. } => {}
            Event::CancelCompleted { child, outcome } => {
                return self.cancel_completed(child, outcome);
            }
            Event::Joined { child, outcome } => return self.joined(child, outcome),
            Event::RaceLost { child } => return self.completed(child, "R3: the race is decided"),
            Event::Violated { job, kind } => self.violated(job, kind),
            _ => return self.apply_to_resources(event),
        }
        Ok(())
    }

    /// Applies the events of resources, locks and conditions.
    fn apply_to_resources(&mut self, event: &Event) -> CheckResult {
        match *event {
            Event::Owned { job, resource } => {
                self.owned(job, resource);
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
            Event::AcquisitionStarted { job, lock } => self.acquisition_started(job, lock),
            Event::AcquisitionDropped { job, lock } => self.acquisition_dropped(job, lock),
            Event::LockSetAside { job, .. } | Event::SetAsideEnded { job, .. } => {
                self.check_may_run(job)
            }
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
            None => state.deadline.into_iter().chain(inherited).min(),
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
        // After a violation the run is shut down, and an outcome may be lost.
        ensure(outcome == expected || !self.violations.is_empty(), || {
            format!("R6: job {child} ended with {expected:?}, cancel returned {outcome:?}")
        })
    }

    fn joined(&mut self, child: usize, outcome: OutcomeKind) -> CheckResult {
        self.completed(child, "R3: the parent has the outcome")?;
        let ended = self.outcome_of(child);
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
        // A violation ends the whole run.
        self.request_end(0);
    }

    /// R3: a job and its descendants have ended, and their resources are finalized.
    fn check_ended(&mut self, job: usize, when: &str) -> CheckResult {
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
        ensure(no_waiters, || format!("jobs still wait for a condition: {queues:?}"))
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> CheckResult {
    if holds { Ok(()) } else { Err(why()) }
}
