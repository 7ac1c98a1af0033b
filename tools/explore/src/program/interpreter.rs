//! Runs the jobs of a program as tasks, and records their events.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use matou_ownership::AccessError;
use matou_runtime::{
    Outcome, Promise, Task, TaskError, TaskId, deadline, defer, now, sleep, timeout, try_shield,
    yield_now,
};

use super::environment::{BodyGuard, Environment, LockGuard, WaitGuard};
use super::{Child, Ending, Job, Placement, Step};
use crate::record::{Event, OutcomeKind, ViolationKind};
use crate::resource::AnyHandle;

/// The value of a job.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) job: usize,
    /// The resources that the job transferred to its parent.
    transferred: Vec<usize>,
}

/// The error of a job: its number.
#[derive(Debug)]
pub(crate) struct Failed(pub(super) usize);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} failed", self.0)
    }
}

pub(super) type Body = Pin<Box<dyn Future<Output = Result<Done, Failed>>>>;

/// The body of a whole program.
pub(crate) fn main(environment: &Environment, program: &Arc<Job>) -> Body {
    environment.record(Event::Spawned { parent: 0, child: 0, task: None });
    body(environment, Arc::clone(program), None)
}

fn body(environment: &Environment, job: Arc<Job>, given: Option<usize>) -> Body {
    let environment = environment.clone();
    let guard = BodyGuard::new(job.id, &environment);
    Box::pin(async move {
        let _guard = guard;
        environment.record(Event::Started { job: job.id });
        let mut interpreter = Interpreter {
            job: &job,
            environment: &environment,
            owned: Vec::from_iter(given),
            open: BTreeMap::new(),
        };
        if let Some(resource) = job.foreign_use {
            interpreter.use_foreign(resource).await;
        }
        for step in &job.steps {
            interpreter.run_step(step).await;
            environment.record(Event::StepCompleted { job: job.id });
        }
        interpreter.complete().await
    })
}

/// The state of a job that is running.
pub(super) struct Interpreter<'a> {
    job: &'a Job,
    environment: &'a Environment,
    owned: Vec<usize>,
    /// The promises of children that the job spawned and has neither awaited nor cancelled.
    open: BTreeMap<usize, Promise<Done, Failed>>,
}

impl Interpreter<'_> {
    async fn run_step(&mut self, step: &Step) {
        match step {
            Step::Yield => yield_now().await,
            Step::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
            Step::Spawn(child) => {
                let promise = self.spawn(child);
                self.open.insert(child.job.id, promise);
            }
            Step::Await(child) => {
                let promise = self.open.remove(child).expect("the child is spawned");
                self.joined(*child, promise.await);
            }
            Step::Cancel(child) => self.cancel(*child).await,
            Step::Forget(child) => {
                drop(self.spawn(child));
                self.record(Event::Forgotten { parent: self.job.id, child: child.job.id });
            }
            Step::AwaitAll(children) => self.await_all(children).await,
            Step::AwaitFirst(children) => self.await_first(children).await,
            Step::AwaitOne(children) => self.await_one_by_one(children).await,
            Step::Orphans(children) => self.await_orphans(children).await,
            Step::Timeout(millis, child) => self.await_with_timeout(*millis, child).await,
            Step::Deadline(millis, child) => self.await_with_deadline(*millis, child).await,
            Step::Shield { timeout, limit, job } => self.shield(*timeout, *limit, job).await,
            Step::Own { resource, is_async } => self.own(*resource, *is_async),
            Step::Use(resource) => {
                let is_owner = self.use_resource(*resource);
                assert!(is_owner, "job {} no longer owns {resource}", self.job.id);
            }
            Step::Release(resource) => {
                self.owned.retain(|owned| owned != resource);
                self.release(*resource);
            }
            Step::Defer(number) => self.defer(*number),
            Step::Lock { lock, yields } => self.hold_lock(*lock, *yields).await,
            Step::Wait { lock, timeout } => self.wait(*lock, *timeout).await,
            Step::Signal(lock) => {
                let woke = self.environment.condition(*lock).signal();
                self.record(Event::Signalled { lock: *lock, woke });
            }
        }
    }

    /// Ends the job as the program says.
    async fn complete(self) -> Result<Done, Failed> {
        let outcome = match self.job.ending {
            Ending::Value => OutcomeKind::Value,
            Ending::Error => OutcomeKind::Error,
            Ending::Panic => OutcomeKind::Panic,
            Ending::Pending => return pending().await,
        };
        // There is no await from here on, so no other task runs in between.
        let job = self.job.id;
        if outcome == OutcomeKind::Value {
            self.prepare_value();
        }
        self.record(Event::Returned { job, outcome });
        drop(self.open);
        match outcome {
            OutcomeKind::Value => Ok(Done { job, transferred: self.job.transfers.clone() }),
            OutcomeKind::Error => Err(Failed(job)),
            _ => std::panic::panic_any(format!("job {job}")),
        }
    }

    /// Releases and transfers the resources of a job that is about to return a value, and records
    /// the violations that the runtime will report.
    fn prepare_value(&self) {
        let job = self.job.id;
        if self.job.steps.iter().any(|step| matches!(step, Step::Forget(_))) {
            self.record(Event::Violated { job, kind: ViolationKind::StillHasChildren });
        }
        if self.job.leaks {
            self.record(Event::Violated { job, kind: ViolationKind::ResourceLeaked });
        } else {
            let is_released = |resource: &&usize| !self.job.transfers.contains(resource);
            self.owned.iter().filter(is_released).for_each(|&resource| self.release(resource));
        }
        for &resource in &self.job.transfers {
            self.environment.resource(resource).transfer().expect("the job owns the resource");
            self.record(Event::Transferred { child: job, resource });
        }
    }

    pub(super) fn record(&self, event: Event) {
        self.environment.record(event);
    }
}

/// Children.
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
        self.record_spawn(child.job.id, promise.id());
        promise
    }

    pub(super) fn record_spawn(&self, child: usize, task: TaskId) {
        self.record(Event::Spawned { parent: self.job.id, child, task: Some(task) });
    }

    async fn cancel(&mut self, child: usize) {
        let promise = self.open.remove(&child).expect("the child is spawned");
        self.record(Event::CancelRequested { child });
        let value = promise.cancel_because("a step of the program").await;
        self.record(Event::CancelCompleted { child, value: value.is_some() });
        self.accept_transferred(value);
    }

    async fn await_with_timeout(&mut self, millis: u64, child: &Child) {
        let promise = self.spawn(child);
        let outcome = timeout(Duration::from_millis(millis), promise).await;
        self.joined_or_timed_out(child.job.id, outcome.ok());
    }

    async fn await_with_deadline(&mut self, millis: u64, child: &Child) {
        let moment = now() + Duration::from_millis(millis);
        let time = self.environment.record.time_of(moment);
        self.record(Event::DeadlineSet { child: child.job.id, deadline: time });
        let outcome = deadline(moment, async { self.spawn(child).await }).await;
        self.joined_or_timed_out(child.job.id, outcome.ok());
    }

    async fn shield(&mut self, millis: u64, limit: u64, job: &Arc<Job>) {
        let (child, limit) = (job.id, Duration::from_millis(limit));
        let shield = try_shield(body(self.environment, Arc::clone(job), None)).limit(limit);
        self.record(Event::Shielded { child, limit });
        self.record_spawn(child, shield.id());
        match timeout(Duration::from_millis(millis), shield).await {
            Ok(outcome) => self.joined(child, outcome),
            Err(_) => self.record(Event::ShieldAbandoned { child }),
        }
    }

    pub(super) fn joined(&mut self, child: usize, outcome: Outcome<Done, Failed>) {
        let kind = match &outcome {
            Ok(_) => OutcomeKind::Value,
            Err(TaskError::Failed(_)) => OutcomeKind::Error,
            Err(TaskError::Panicked(_)) => OutcomeKind::Panic,
            Err(TaskError::Cancelled(_)) => OutcomeKind::Cancelled,
        };
        self.record(Event::Joined { child, outcome: kind });
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

/// Resources and locks.
impl Interpreter<'_> {
    fn own(&mut self, resource: usize, is_async: bool) {
        let handle = AnyHandle::new(resource, is_async, &self.environment.record);
        self.environment.insert_resource(resource, handle);
        self.record(Event::Owned { job: self.job.id, resource });
        self.owned.push(resource);
    }

    fn release(&self, resource: usize) {
        self.record(Event::Released { resource });
        self.environment.resource(resource).release();
    }

    /// Accesses a resource by a shared reference. Returns false if another task owns it.
    fn use_resource(&self, resource: usize) -> bool {
        let as_owner = match self.environment.resource(resource).check() {
            Ok(()) => true,
            Err(AccessError::NotOwner(_)) => false,
            // The owner has released it.
            Err(_) => return true,
        };
        self.record(Event::Used { job: self.job.id, resource, as_owner });
        as_owner
    }

    /// Uses a resource of the parent. If the parent still owns it, the violation ends the run, and
    /// this future is not polled again.
    async fn use_foreign(&self, resource: usize) {
        if !self.use_resource(resource) {
            self.record(Event::Violated { job: self.job.id, kind: ViolationKind::NotOwner });
            pending::<()>().await;
        }
    }

    fn defer(&self, resource: usize) {
        let record = self.environment.record.clone();
        self.record(Event::Deferred { job: self.job.id, resource });
        defer(async move {
            record.add(Event::FinalizerStarted { resource });
            yield_now().await;
            sleep(Duration::from_millis(resource as u64 % 3)).await;
            record.add(Event::Finalized { resource });
        });
    }

    async fn hold_lock(&self, lock: usize, yields: u32) {
        let _locked = self.environment.lock(lock).lock().await;
        let _guard = LockGuard::new(self.job.id, lock, self.environment);
        for _ in 0..yields {
            yield_now().await;
        }
    }

    async fn wait(&self, lock: usize, millis: u64) {
        let (job, environment) = (self.job.id, self.environment);
        let wait = async {
            let locked = environment.lock(lock).lock().await;
            // Records the release before it happens, in the first poll of the wait. That poll
            // follows immediately, so no event can come between.
            drop(LockGuard::new(job, lock, environment));
            let guard = WaitGuard::new(job, lock, environment);
            let _locked = environment.condition(lock).wait(locked).await;
            guard.woken();
            let _guard = LockGuard::new(job, lock, environment);
            yield_now().await;
        };
        if timeout(Duration::from_millis(millis), wait).await.is_err() {
            self.record(Event::WaitTimedOut { job, lock });
        }
    }
}
