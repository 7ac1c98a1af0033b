//! R10: each report has a cause, and each certain cause is reported once.

use matou_runtime::TaskId;

use super::{CheckResult, JobState, Model, ensure};
use crate::event::{OutcomeKind, Report, ViolationKind};

impl Model {
    /// The runtime reported something. The cause of a report may be an event that follows it, so
    /// some causes are checked at the end.
    pub(super) fn reported(&mut self, report: Report) -> CheckResult {
        let is_repeated = match report {
            Report::Violation { .. } | Report::FailureUnseen { .. } => {
                self.reports.contains(&report)
            }
            Report::ResourceAlive { .. } => self.reports.contains(&report),
            _ => false,
        };
        ensure(!is_repeated, || format!("R10: reported twice: {report:?}"))?;
        self.reports.push(report);
        match report {
            Report::Violation { task, kind } => self.violation_reported(task, kind),
            Report::DeclinedOffer { task, operation } => match self.job_with_id(task) {
                Some(job) => self.offer_declined(job, operation),
                None => Err(format!("R13: a task that is no job has declined a {operation}")),
            },
            Report::WaitCycle { task, next } => {
                match (self.job_with_id(task), self.job_with_id(next)) {
                    (Some(job), Some(next)) => self.wait_reported(job, next),
                    _ => Err("R14: a task that is no job waits in a circle".into()),
                }
            }
            Report::Other(name) => Err(format!("R10: unexpected report of {name}")),
            _ => Ok(()),
        }
    }

    fn violation_reported(&mut self, task: Option<TaskId>, kind: ViolationKind) -> CheckResult {
        let job = self.job_with_id(task);
        let is_known = job.is_some_and(|job| self.violations.contains(&(job, kind)));
        if self.settings.fails_run {
            self.run_failed_at.get_or_insert(self.now);
        }
        ensure(is_known, || format!("R10: job {job:?} did not commit this violation"))
    }

    /// Returns the job that runs as this task; `None` is main.
    fn job_with_id(&self, task: Option<TaskId>) -> Option<usize> {
        let Some(task) = task else { return Some(0) };
        let found = self.jobs.iter().find(|(_, state)| state.id == Some(task));
        found.map(|(job, _)| *job)
    }

    /// Checks the reports of the whole run.
    pub(super) fn check_reports(&self) -> CheckResult {
        for &(job, kind) in &self.violations {
            let report = Report::Violation { task: self.jobs[&job].id, kind };
            let is_reported = self.reports.contains(&report);
            ensure(is_reported, || format!("R10: {kind:?} of job {job} is not reported"))?;
        }
        self.check_forgotten()?;
        self.check_unseen_failures()?;
        self.check_living_resources()
    }

    /// R1: forgotten children are reported, unless that is a violation. Those that a job forgets in
    /// the poll in which it fails are given up.
    fn check_forgotten(&self) -> CheckResult {
        let mut counted = 0;
        for report in &self.reports {
            let Report::Forgotten { parent, child, count } = *report else { continue };
            let (parent, child) = (self.job_with_id(parent), self.job_with_id(Some(child)));
            let forgotten = child.filter(|child| self.jobs[child].forgotten);
            let is_known = forgotten.is_some_and(|child| Some(self.jobs[&child].parent) == parent);
            ensure(is_known, || format!("R1: job {child:?} was not forgotten by {parent:?}"))?;
            counted += count;
        }
        let forgotten = || self.jobs.values().filter(|job| job.forgotten);
        if self.settings.is_strict {
            return ensure(counted == 0, || "R1: a strict run reports forgotten children".into());
        }
        let is_certain = |child: &&JobState| {
            let parent = &self.jobs[&child.parent];
            let in_later_poll = parent.returned_at > child.end_requested_at;
            parent.returned == Some(OutcomeKind::Value) || in_later_poll
        };
        let expected = forgotten().filter(is_certain).count()..=forgotten().count();
        ensure(expected.contains(&counted), || {
            format!("R1: {counted} forgotten children are reported, expected {expected:?}")
        })
    }

    /// R10: the failure of a job is reported if no other job receives it.
    fn check_unseen_failures(&self) -> CheckResult {
        // Main has no id, nor have submitted jobs, which do not fail.
        for (&job, state) in self.jobs.iter().filter(|(_, state)| state.id.is_some()) {
            let report = Report::FailureUnseen { task: state.id };
            let is_reported = self.reports.contains(&report);
            let has_violated = self.violations.iter().any(|(offender, _)| *offender == job);
            let has_failed =
                matches!(state.returned, Some(OutcomeKind::Error | OutcomeKind::Panic));
            let is_unseen = has_failed && !has_violated && !state.joined;
            ensure(!is_reported || is_unseen, || {
                format!("R10: the failure of job {job} is reported as unseen")
            })?;
            // The outcome of a child whose promise was leaked is leaked as well.
            ensure(is_reported || !is_unseen || state.leaked, || {
                format!("R10: the failure of job {job} is not reported")
            })?;
        }
        Ok(())
    }

    /// R7: a resource is reported if it is still alive when the run ends, and that is no violation.
    fn check_living_resources(&self) -> CheckResult {
        for (resource, state) in &self.resources {
            let Some(ticket) = state.ticket else { continue };
            let is_reported = self.reports.contains(&Report::ResourceAlive { ticket });
            ensure(is_reported == state.alive_at_end, || {
                format!("R7: {resource} was alive: {}; reported: {is_reported}", state.alive_at_end)
            })?;
        }
        Ok(())
    }
}
