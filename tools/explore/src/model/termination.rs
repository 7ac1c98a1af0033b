//! When a job that has not returned may be cancelled, and when it must have been cancelled.

use std::time::Duration;

use super::{CheckResult, Model, ensure};

/// The time until the descendants of a cancelled job are cancelled on all domains: a message takes
/// at most 5 ms, and a tree is not deep.
const SLACK: Duration = Duration::from_millis(50);

impl Model {
    /// A job received a cancel request, or its parent no longer waits for it.
    pub(super) fn request_end(&mut self, job: usize) {
        let now = self.now;
        self.job(job).end_requested_at.get_or_insert(now);
    }

    /// R5: a job is cancelled only with a cause: a cancel request, its deadline, the end of its
    /// parent or the loss of its race.
    pub(super) fn check_may_end(&self, job: usize) -> CheckResult {
        let earliest = self.earliest_end(job);
        ensure(earliest.is_some_and(|earliest| earliest <= self.now), || match earliest {
            Some(earliest) => format!("R5: job {job} must not be cancelled before {earliest:?}"),
            None => format!("R5: job {job} is cancelled without a cause"),
        })
    }

    /// Whether the job has ended, or something that happened allows the runtime to cancel it.
    pub(super) fn may_have_ended(&self, job: usize) -> bool {
        let state = &self.jobs[&job];
        state.dropped || state.stopped || self.check_may_end(job).is_ok()
    }

    /// The first moment at which a job may be cancelled, as far as the events so far imply one.
    fn earliest_end(&self, job: usize) -> Option<Duration> {
        let state = &self.jobs[&job];
        let with_parent = (job != 0).then(|| self.earliest_end_of_parent(state.parent)).flatten();
        let with_parent = match state.shield {
            Some(limit) => with_parent.map(|parent| parent + limit),
            None => with_parent,
        };
        let race_lost = state.race.and_then(|race| self.race_decided_at(race, job));
        [state.end_requested_at, state.deadline, with_parent, race_lost].into_iter().flatten().min()
    }

    /// R1, R4: the children of a job are cancelled when it returns or is cancelled.
    fn earliest_end_of_parent(&self, parent: usize) -> Option<Duration> {
        let returned = self.jobs[&parent].returned_at;
        returned.into_iter().chain(self.earliest_end(parent)).min()
    }

    /// When another job of the race returned, or was stopped by its violation. Jobs that were
    /// cancelled do not decide a race; if the parent is cancelled, `earliest_end_of_parent` covers
    /// the case.
    fn race_decided_at(&self, race: usize, job: usize) -> Option<Duration> {
        let others = self.jobs.iter().filter(|(other, state)| {
            let has_outcome = state.returned.is_some() || state.stopped;
            **other != job && state.race == Some(race) && has_outcome && state.dropped
        });
        others.filter_map(|(_, state)| state.returned_at.or(state.end_requested_at)).min()
    }

    /// The last moment at which a job may run, as far as the events so far imply one: its deadline,
    /// or the limit of the innermost shield around it, counted from the return of that shield's
    /// parent.
    pub(super) fn latest_end(&self, job: usize) -> Option<Duration> {
        let state = self.jobs.get(&job)?;
        let shield = match state.shield {
            Some(limit) => self.jobs[&state.parent].returned_at.map(|end| end + limit),
            None if job == 0 => self.run_failed_at.map(|at| at + SLACK),
            None => self.latest_end_of_shield(state.parent).map(|end| end + SLACK),
        };
        state.deadline.into_iter().chain(shield).min()
    }

    /// The limit of the innermost shield that the job is or belongs to.
    fn latest_end_of_shield(&self, job: usize) -> Option<Duration> {
        let state = self.jobs.get(&job)?;
        match state.shield {
            Some(limit) => self.jobs[&state.parent].returned_at.map(|end| end + limit),
            None if job == 0 => None,
            None => self.latest_end_of_shield(state.parent),
        }
    }
}
