//! R14: jobs that wait for each other and for nothing else.

use std::time::Duration;

use super::{CheckResult, Model, ensure};
use crate::event::{Report, Target};

/// The longest time between the wait that closes a circle on one domain and its report.
const DELAY: Duration = Duration::from_millis(20);

/// Jobs each of which waits for the next one, and the last one for the first.
#[derive(Debug)]
pub(super) struct Circle {
    jobs: Vec<usize>,
    since: Duration,
}

impl Model {
    /// The job that another one waits for: the holder of a lock, or a child.
    fn next_in_circle(&self, job: usize) -> Option<usize> {
        match self.target_of(job) {
            Some(Target::Lock(lock)) => self.lock_holders.get(&lock).copied(),
            Some(_) => None,
            None => self.awaited.get(&job).copied().filter(|child| !self.jobs[child].joined),
        }
    }

    /// A job begins to wait: notes the circle that this wait closes, if it does.
    pub(super) fn note_circle(&mut self, job: usize) {
        let mut jobs = vec![job];
        while let Some(next) = self.next_in_circle(*jobs.last().expect("it contains the job")) {
            if next == job {
                self.circles.push(Circle { jobs, since: self.now });
                return;
            }
            if jobs.contains(&next) {
                return;
            }
            jobs.push(next);
        }
    }

    /// A circle whose jobs are on one domain is reported soon, unless one of its jobs ends.
    pub(super) fn check_circles(&mut self) -> CheckResult {
        let now = self.now;
        let late = self.circles.extract_if(.., |circle| now > circle.since + DELAY);
        for Circle { jobs, since } in late.collect::<Vec<_>>() {
            let may_end = jobs.iter().any(|job| self.may_have_ended(*job));
            if may_end || !self.are_on_one_domain(&jobs) {
                continue;
            }
            let next = jobs.iter().cycle().skip(1);
            let id = |job| self.jobs[job].id;
            let mut edges = jobs.iter().zip(next);
            let missing = edges.find(|(job, next)| {
                let edge = Report::WaitCycle { task: id(*job), next: id(*next) };
                !self.reports.contains(&edge)
            });
            ensure(missing.is_none(), || {
                format!("R14: the circle {jobs:?} exists since {since:?}, and is not reported")
            })?;
        }
        Ok(())
    }

    fn are_on_one_domain(&self, jobs: &[usize]) -> bool {
        // The nearest ancestor that is on the domain of its own.
        let root = |mut job: usize| {
            while self.jobs[&job].is_local {
                job = self.jobs[&job].parent;
            }
            job
        };
        jobs.iter().all(|job| root(*job) == root(jobs[0]))
    }

    fn ancestors(&self, job: usize) -> impl Iterator<Item = usize> + '_ {
        let parent = |job: &usize| (*job != 0).then(|| self.jobs[job].parent);
        std::iter::successors(parent(&job), parent)
    }

    /// Each task of a reported circle waits for the next one.
    pub(super) fn wait_reported(&self, job: usize, next: usize) -> CheckResult {
        // A job that is cancelled waits for its descendants.
        let is_descendant = self.ancestors(next).any(|ancestor| ancestor == job);
        let waits_for_descendants = self.may_have_ended(job) && is_descendant;
        let target = self.target_of(job);
        let waits_for_holder = target.is_some_and(|target| self.holds_primitive(next, target));
        let waits =
            waits_for_descendants || waits_for_holder || self.next_in_circle(job) == Some(next);
        ensure(waits, || format!("R14: job {job} does not wait for job {next}"))
    }
}
