//! The steps that await several children.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use matou_runtime::{
    Orphans, Outcome, Promise, Spawner, TaskError, await_all, await_first, await_one, sleep, spawn,
    yield_now,
};

use super::interpreter::{Body, Done, Failed, Interpreter, body};
use super::{Child, Job};
use crate::event::Event;

impl Interpreter<'_> {
    pub(super) async fn await_all(&mut self, children: &[Child]) {
        let promises = self.spawn_all(children);
        let outcomes = await_all(promises).await;
        for (child, outcome) in children.iter().zip(outcomes) {
            self.joined(child.job.id, outcome);
        }
    }

    pub(super) async fn await_first(&mut self, children: &[Child]) {
        for child in children {
            self.record(Event::RaceEntered { child: child.job.id, race: children[0].job.id });
        }
        let promises = self.spawn_all(children);
        let outcome = await_first(promises).await;
        let first = job_of(&outcome);
        if let Some(child) = first {
            self.joined(child, outcome);
        }
        for child in children.iter().filter(|child| Some(child.job.id) != first) {
            self.record(Event::RaceLost { child: child.job.id });
        }
    }

    pub(super) async fn await_one_by_one(&mut self, children: &[Child]) {
        let mut promises = self.spawn_all(children);
        while !promises.is_empty() {
            let outcome = await_one(&mut promises).await;
            if let Some(child) = job_of(&outcome) {
                self.joined(child, outcome);
            }
        }
    }

    pub(super) async fn await_orphans(&mut self, children: &[Child]) {
        let orphans = Orphans::new();
        for child in children {
            let (task, body) = self.prepare(child);
            let id = task.orphans(&orphans).try_spawn(body()).expect("the group has no capacity");
            self.record_spawn(child.job.id, id, true);
        }
        while let Some(outcome) = orphans.next().await {
            if let Some(child) = job_of(&outcome) {
                self.joined(child, outcome);
            }
        }
    }

    /// Submits jobs to a group, itself or by the destructor of a child.
    pub(super) async fn submit(&mut self, jobs: &[Arc<Job>], by_destructor: bool) {
        let group = Orphans::new();
        for job in jobs {
            self.record(Event::Submitted { parent: self.job.id, child: job.id });
            let (spawner, body) = (group.spawner(), body(self.environment, Arc::clone(job), None));
            let submission = Submission { spawner, body: Some(body) };
            if by_destructor {
                let child = spawn(async move {
                    let _submission = submission;
                    pending::<()>().await;
                });
                yield_now().await;
                child.cancel().await;
            } else {
                drop(submission);
            }
        }
        let mut left = jobs.len();
        while let Some(outcome) = group.next().await {
            left -= 1;
            if let Some(child) = job_of(&outcome) {
                self.joined(child, outcome);
            }
        }
        assert_eq!(left, 0, "the group is empty, and not all its children were joined");
    }

    /// Spawns the members of a circle, and cancels them after a while: none ends by itself.
    pub(super) async fn cancel_circle(&mut self, children: &[Child], millis: u64) {
        let promises = self.spawn_all(children);
        for (child, promise) in children.iter().zip(promises) {
            self.open.insert(child.job.id, promise);
        }
        sleep(Duration::from_millis(millis)).await;
        for child in children {
            self.cancel(child.job.id).await;
        }
    }

    fn spawn_all(&mut self, children: &[Child]) -> Vec<Promise<Done, Failed>> {
        children.iter().map(|child| self.spawn(child)).collect()
    }
}

/// Submits a job to a group when it is dropped.
struct Submission {
    spawner: Spawner<Done, Failed>,
    body: Option<Body>,
}

impl Drop for Submission {
    fn drop(&mut self) {
        // The owner of the group may be ending.
        drop(self.body.take().map(|body| self.spawner.try_spawn(body)));
    }
}

/// The job that an outcome belongs to. A cancellation does not contain it.
fn job_of(outcome: &Outcome<Done, Failed>) -> Option<usize> {
    match outcome {
        Ok(done) => Some(done.job),
        Err(TaskError::Failed { error: Failed(job), .. }) => Some(*job),
        Err(TaskError::Panicked(panic)) => job_of_name(panic.message()),
        Err(TaskError::Violation(report)) => {
            job_of_name(report.violations().first()?.task().name.as_deref()?)
        }
        Err(TaskError::Cancelled(_) | TaskError::Unfinished(_)) => None,
    }
}

fn job_of_name(name: &str) -> Option<usize> {
    name.strip_prefix("job ")?.parse().ok()
}
