//! Spawns, cancels and awaits single children.

use std::sync::Arc;
use std::time::Duration;

use matou_runtime::{
    Outcome, Promise, Task, TaskError, TaskId, abandon, call, deadline, now, timeout, try_shield,
    yield_now,
};

use super::interpreter::{Body, Done, Failed, Interpreter, body};
use super::{Child, GiveUp, Job, Placement};
use crate::event::{Event, OutcomeKind};

impl Interpreter<'_> {
    /// Returns the task of a child, and a function that creates its body.
    pub(super) fn prepare(
        &mut self,
        child: &Child,
    ) -> (Task, impl FnOnce() -> Body + Send + 'static + use<>) {
        let mut task = Task::new().name(format!("job {}", child.job.id));
        if let Some(resource) = child.given {
            self.owned.retain(|&owned| owned != resource);
            task = self.environment.resource(resource).give(task);
            self.record(Event::Given { child: child.job.id, resource });
        }
        if child.job.strict_resources {
            task = task.strict_resources();
            self.record(Event::StrictResources { child: child.job.id });
        }
        let (environment, given) = (self.environment.clone(), child.given);
        let job = Arc::clone(&child.job);
        (task, move || body(&environment, job, given))
    }

    pub(super) fn spawn(&mut self, child: &Child) -> Promise<Done, Failed> {
        let (task, body) = self.prepare(child);
        let promise = match child.placement {
            Placement::Local => task.try_spawn(body()),
            Placement::Remote => task.try_call(body).expect("there are other domains"),
        };
        let is_local = child.placement == Placement::Local;
        self.record_spawn(child.job.id, promise.id(), is_local);
        promise
    }

    pub(super) fn record_spawn(&self, child: usize, task: TaskId, is_local: bool) {
        self.record(Event::Spawned { parent: self.job.id, child, task: Some(task), is_local });
    }

    pub(super) async fn cancel(&mut self, child: usize) {
        let promise = self.open.remove(&child).expect("the child is spawned");
        self.record(Event::CancelRequested { child });
        let outcome = promise.cancel_because("a step of the program").await;
        let outcome_kind = outcome.as_ref().map(kind_of);
        self.record(Event::CancelCompleted { child, outcome: outcome_kind });
        self.accept_transferred(outcome.and_then(Result::ok));
    }

    pub(super) async fn give_up(&mut self, child: &Child, how: GiveUp) {
        let mut promise = self.spawn(child);
        if how == GiveUp::Polled
            && let Ok(outcome) = timeout(Duration::ZERO, &mut promise).await
        {
            return self.joined(child.job.id, outcome);
        }
        if how == GiveUp::Later {
            yield_now().await;
        }
        self.record(Event::GivenUp { child: child.job.id });
        if how == GiveUp::Elsewhere {
            let dropped = call(move || async move { drop(abandon(promise)) });
            let _ = dropped.expect("there are other domains").await;
        } else if how == GiveUp::AtOnce || self.environment.settings.is_strict {
            drop(abandon(promise));
        } else {
            drop(promise);
            // In its last poll the job would forget the child.
            yield_now().await;
        }
    }

    pub(super) async fn await_with_timeout(&mut self, millis: u64, child: &Child) {
        let promise = self.spawn(child);
        let outcome = timeout(Duration::from_millis(millis), promise).await;
        self.joined_or_timed_out(child.job.id, outcome.ok());
    }

    pub(super) async fn await_with_deadline(&mut self, millis: u64, child: &Child) {
        let moment = now() + Duration::from_millis(millis);
        let time = self.environment.record.time_of(moment);
        self.record(Event::DeadlineSet { child: child.job.id, deadline: time });
        let outcome = deadline(moment, async { self.spawn(child).await }).await;
        self.joined_or_timed_out(child.job.id, outcome.ok());
    }

    pub(super) async fn shield(&mut self, millis: u64, limit: u64, job: &Arc<Job>) {
        let (child, limit) = (job.id, Duration::from_millis(limit));
        let shield = try_shield(body(self.environment, Arc::clone(job), None)).limit(limit);
        self.record(Event::Shielded { child, limit });
        self.record_spawn(child, shield.id(), true);
        match timeout(Duration::from_millis(millis), shield).await {
            Ok(outcome) => self.joined(child, outcome),
            Err(_) => self.record(Event::ShieldAbandoned { child }),
        }
    }

    pub(super) fn joined(&mut self, child: usize, outcome: Outcome<Done, Failed>) {
        self.record(Event::Joined { child, outcome: kind_of(&outcome) });
        self.accept_transferred(outcome.ok());
    }

    fn joined_or_timed_out(&mut self, child: usize, outcome: Option<Outcome<Done, Failed>>) {
        match outcome {
            Some(outcome) => self.joined(child, outcome),
            None => self.record(Event::TimeoutElapsed { child }),
        }
    }

    /// Adds the resources that a child transferred to those of the job.
    fn accept_transferred(&mut self, done: Option<Done>) {
        for resource in done.into_iter().flat_map(|done| done.transferred) {
            let is_owner = self.use_resource(resource);
            assert!(is_owner, "job {} does not own {resource} after the transfer", self.job.id);
            self.owned.push(resource);
        }
    }
}

fn kind_of(outcome: &Outcome<Done, Failed>) -> OutcomeKind {
    match outcome {
        Ok(_) => OutcomeKind::Value,
        Err(TaskError::Failed { .. }) => OutcomeKind::Error,
        Err(TaskError::Panicked(_)) => OutcomeKind::Panic,
        Err(TaskError::Cancelled(_) | TaskError::Unfinished(_)) => OutcomeKind::Cancelled,
        Err(TaskError::Violation(_)) => OutcomeKind::Violation,
    }
}
