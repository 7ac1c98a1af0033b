//! The steps that await several children.

use matou_runtime::{Orphans, Outcome, Promise, TaskError, await_all, await_first, await_one};

use super::Child;
use super::interpreter::{Done, Failed, Interpreter};
use crate::record::Event;

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
            self.record_spawn(child.job.id, id);
        }
        while let Some(outcome) = orphans.next().await {
            if let Some(child) = job_of(&outcome) {
                self.joined(child, outcome);
            }
        }
    }

    fn spawn_all(&mut self, children: &[Child]) -> Vec<Promise<Done, Failed>> {
        children.iter().map(|child| self.spawn(child)).collect()
    }
}

/// The job that an outcome belongs to. A cancellation does not contain it.
fn job_of(outcome: &Outcome<Done, Failed>) -> Option<usize> {
    match outcome {
        Ok(done) => Some(done.job),
        Err(TaskError::Failed(Failed(job))) => Some(*job),
        Err(TaskError::Panicked(panic)) => panic.message().strip_prefix("job ")?.parse().ok(),
        Err(TaskError::Cancelled(_) | TaskError::Violation(_) | TaskError::Unfinished(_)) => None,
    }
}
