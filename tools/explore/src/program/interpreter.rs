//! Runs the jobs of a program as tasks, and records their events.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use matou_runtime::{Promise, sleep, yield_now};

use super::environment::{BodyGuard, Environment};
use super::{Ending, Job, Step};
use crate::event::{Event, OutcomeKind, Target, ViolationKind};

/// The value of a job.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) job: usize,
    /// The resources that the job transferred to its parent.
    pub(super) transferred: Vec<usize>,
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
    environment.record(Event::Spawned { parent: 0, child: 0, task: None, is_local: false });
    body(environment, Arc::clone(program), None)
}

pub(super) fn body(environment: &Environment, job: Arc<Job>, given: Option<usize>) -> Body {
    let environment = environment.clone();
    let guard = BodyGuard::new(job.id, &environment);
    Box::pin(async move {
        let _guard = guard;
        environment.record(Event::Started { job: job.id });
        let mut interpreter = Interpreter {
            job: &job,
            environment: &environment,
            given,
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
    pub(super) job: &'a Job,
    pub(super) environment: &'a Environment,
    /// The resource that the job's parent gave to it.
    given: Option<usize>,
    pub(super) owned: Vec<usize>,
    /// The promises of children that the job spawned and has neither awaited nor cancelled.
    pub(super) open: BTreeMap<usize, Promise<Done, Failed>>,
}

impl Interpreter<'_> {
    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
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
            Step::Leak(child) => {
                std::mem::forget(self.spawn(child));
                self.record(Event::Leaked { child: child.job.id });
            }
            Step::GiveUp { child, how } => self.give_up(child, *how).await,
            Step::AwaitAll(children) => self.await_all(children).await,
            Step::AwaitFirst(children) => self.await_first(children).await,
            Step::AwaitOne(children) => self.await_one_by_one(children).await,
            Step::Orphans(children) => self.await_orphans(children).await,
            Step::Timeout(millis, child) => self.await_with_timeout(*millis, child).await,
            Step::Deadline(millis, child) => self.await_with_deadline(*millis, child).await,
            Step::Shield { timeout, limit, job } => self.shield(*timeout, *limit, job).await,
            Step::Own { resource, is_async } => self.own(*resource, *is_async),
            // In a strict run the end of the sender would be a leak.
            Step::Post { .. } | Step::Take { .. } if self.environment.settings.is_strict => {}
            Step::Post { resource, is_async } => self.post(*resource, *is_async),
            Step::Take { becomes_owner, millis } => self.take(*becomes_owner, *millis).await,
            Step::Use(resource) => {
                let is_owner = self.use_resource(*resource);
                assert!(is_owner, "job {} no longer owns {resource}", self.job.id);
            }
            Step::Release(resource) => {
                self.owned.retain(|owned| owned != resource);
                self.release(*resource);
            }
            Step::Defer(number) => self.defer(*number),
            Step::Lock { lock, millis } => self.hold_lock(*lock, *millis).await,
            Step::SetAside { target, value, polls, millis, then } => match *target {
                Target::Lock(lock) => self.set_lock_aside(lock, *polls, *millis, *then).await,
                Target::Slot(queue) => {
                    self.set_push_aside((queue, *value), *polls, *millis, *then).await;
                }
                Target::Value(queue) => self.set_pop_aside(queue, *polls, *millis, *then).await,
                Target::Permits(amount) => {
                    self.set_request_aside(amount, *polls, *millis, *then).await;
                }
                _ => unreachable!("{target:?} belongs to another step"),
            },
            Step::Push { queue, value, timeout } => self.push(*queue, *value, *timeout).await,
            Step::Pop { queue, timeout } => self.pop(*queue, *timeout).await,
            Step::Acquire { amount, millis, timeout } => {
                self.try_hold_permits(*amount, *millis, *timeout).await;
            }
            Step::Blocking { looks, timeout } => self.block(*looks, *timeout).await,
            Step::Datagrams(count) => self.send_datagrams(*count).await,
            Step::Unix { kind, amount } => self.receive_over_unix(*kind, *amount).await,
            Step::Primitive(step) => self.run_primitive(step).await,
            Step::Race { children, kind, millis } => self.race(children, *kind, *millis).await,
            Step::Submit { jobs, by_destructor } => self.submit(jobs, *by_destructor).await,
            Step::LockBoth { first, second, millis } => {
                self.hold_both(*first, *second, *millis).await;
            }
            Step::LockAndAwait { lock, child } => self.hold_and_await(*lock, child).await,
            Step::Circle { children, millis } => self.cancel_circle(children, *millis).await,
            Step::Wait { lock, timeout } => self.wait(*lock, *timeout).await,
            Step::Signal(lock) => {
                let woke = self.environment.condition(*lock).signal();
                self.record(Event::Signalled { lock: *lock, woke });
            }
        }
    }

    /// Ends the job with the outcome that the program specifies.
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
        let is_strict = self.environment.settings.is_strict;
        let is_unjoined = |step: &Step| match step {
            Step::Leak(_) => true,
            Step::Forget(_) => is_strict,
            _ => false,
        };
        if self.job.steps.iter().any(is_unjoined) {
            self.record(Event::Violated { job, kind: ViolationKind::StillHasChildren });
        }
        if self.job.leaks {
            // Otherwise the resources pass to the parent, unless they were given to the job.
            let has_given = self.given.is_some_and(|given| self.owned.contains(&given));
            if is_strict || self.job.strict_resources || has_given {
                self.record(Event::Violated { job, kind: ViolationKind::ResourceLeaked });
            }
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
