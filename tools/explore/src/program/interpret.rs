//! Runs a program's jobs as tasks, and records what happens.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matou_ownership::AccessError;
use matou_runtime::{
    Orphans, Outcome, Promise, Task, TaskError, await_all, await_first, await_one, deadline, defer,
    now, sleep, timeout, try_shield, yield_now,
};
use matou_sync::Condition;

use super::generate::LOCKS;
use super::{Child, Ending, Job, Place, Step};
use crate::record::{Event, Record, Rule, Seen};
use crate::resource::Held;

/// What all jobs of a run share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) record: Record,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    locks: [matou_sync::Mutex<()>; LOCKS as usize],
    conditions: [Condition; LOCKS as usize],
    /// All resources, so that no drop of a handle finalizes one: that is for the rules to do.
    attic: Mutex<BTreeMap<usize, Held>>,
}

impl World {
    pub(crate) fn new() -> World {
        World { record: Record::default(), shared: Arc::default() }
    }

    fn add(&self, event: Event) {
        self.record.add(event);
    }

    fn resource(&self, number: usize) -> Held {
        let attic = self.shared.attic.lock().unwrap_or_else(PoisonError::into_inner);
        attic[&number].clone()
    }
}

/// What a job returns when it ends well: its number, and what it hands to its parent.
#[derive(Debug)]
pub(crate) struct Done {
    job: usize,
    gifts: Vec<usize>,
}

/// What it returns otherwise: its number.
#[derive(Debug)]
pub(crate) struct Failed(usize);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "job {} failed", self.0)
    }
}

type Body = Pin<Box<dyn Future<Output = Result<Done, Failed>>>>;

/// The body of the whole program.
pub(crate) fn main(world: &World, program: &Arc<Job>) -> Body {
    world.add(Event::Spawned { parent: 0, child: 0, task: None });
    body(world, Arc::clone(program), None)
}

/// Tells when a job's future is gone.
struct Guard {
    job: usize,
    record: Record,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.record.add(Event::Dropped { job: self.job });
    }
}

/// Tells when a lock is had, and when it is let go, right before it is.
struct Holding<'a> {
    job: usize,
    lock: usize,
    record: &'a Record,
}

impl<'a> Holding<'a> {
    fn new(job: usize, lock: usize, world: &'a World) -> Holding<'a> {
        world.add(Event::Locked { job, lock });
        Holding { job, lock, record: &world.record }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.record.add(Event::Unlocked { job: self.job, lock: self.lock });
    }
}

/// Tells when a job stands in a line, and how it leaves it.
struct Standing<'a> {
    job: usize,
    lock: usize,
    record: &'a Record,
}

impl<'a> Standing<'a> {
    fn new(job: usize, lock: usize, world: &'a World) -> Standing<'a> {
        world.add(Event::Waits { job, lock });
        Standing { job, lock, record: &world.record }
    }

    fn called(self) {
        self.record.add(Event::Woken { job: self.job, lock: self.lock });
        std::mem::forget(self);
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.record.add(Event::LeftLine { job: self.job, lock: self.lock });
    }
}

fn body(world: &World, job: Arc<Job>, given: Option<usize>) -> Body {
    let world = world.clone();
    let guard = Guard { job: job.id, record: world.record.clone() };
    Box::pin(async move {
        let _guard = guard;
        world.add(Event::Began { job: job.id });
        let mut held = Vec::from_iter(given);
        let mut open = BTreeMap::new();
        if let Some(resource) = job.misuses
            && !use_it(&world, job.id, resource)
        {
            world.add(Event::Broken { job: job.id, rule: Rule::NotOwner });
            pending::<()>().await;
        }
        for step in &job.steps {
            take_step(step, &job, &world, &mut held, &mut open).await;
            world.add(Event::Step { job: job.id });
        }
        end(&job, &world, held, open).await
    })
}

/// Uses a resource. Returns false if it is somebody else's.
fn use_it(world: &World, job: usize, resource: usize) -> bool {
    let as_owner = match world.resource(resource).check() {
        Ok(()) => true,
        Err(AccessError::NotOwner(_)) => false,
        // Its owner has let it go already.
        Err(_) => return true,
    };
    world.add(Event::Used { job, resource, as_owner });
    as_owner
}

async fn end(
    job: &Job,
    world: &World,
    held: Vec<usize>,
    open: BTreeMap<usize, Promise<Done, Failed>>,
) -> Result<Done, Failed> {
    let how = match job.ending {
        Ending::Well => Seen::Value,
        Ending::Failed => Seen::Error,
        Ending::Panicked => Seen::Panic,
        Ending::Never => return pending().await,
    };
    // From here on nothing waits, so nobody can come between.
    if job.ending == Ending::Well {
        let forgets = job.steps.iter().any(|step| matches!(step, Step::Forget(_)));
        if forgets {
            world.add(Event::Broken { job: job.id, rule: Rule::StillHasChildren });
        }
        for &resource in held.iter().filter(|_| !job.leaks) {
            if !job.gifts.contains(&resource) {
                world.add(Event::Released { resource });
                world.resource(resource).release();
            }
        }
        if job.leaks {
            world.add(Event::Broken { job: job.id, rule: Rule::ResourceLeaked });
        }
        for &resource in &job.gifts {
            world.resource(resource).transfer().expect("it is ours");
            world.add(Event::Transferred { child: job.id, resource });
        }
    }
    world.add(Event::Returned { job: job.id, how });
    drop(open);
    match how {
        Seen::Value => Ok(Done { job: job.id, gifts: job.gifts.clone() }),
        Seen::Error => Err(Failed(job.id)),
        _ => std::panic::panic_any(format!("job {}", job.id)),
    }
}

/// What a job has spawned, and still holds the promises of.
type Open = BTreeMap<usize, Promise<Done, Failed>>;

async fn take_step(step: &Step, job: &Job, world: &World, held: &mut Vec<usize>, open: &mut Open) {
    match step {
        Step::Yield => yield_now().await,
        Step::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
        Step::Spawn(child) => {
            open.insert(child.job.id, spawn(child, job, world, held));
        }
        Step::Await(child) => {
            let promise = open.remove(child).expect("it was spawned before");
            see(*child, promise.await, job, world, held);
        }
        Step::Cancel(child) => {
            let promise = open.remove(child).expect("it was spawned before");
            world.add(Event::CancelAsked { child: *child });
            let value = promise.cancel_because("the program says so").await;
            world.add(Event::CancelDone { child: *child, value: value.is_some() });
            take_gifts(value, job, world, held);
        }
        Step::Forget(child) => {
            drop(spawn(child, job, world, held));
            world.add(Event::Forgotten { parent: job.id, child: child.job.id });
        }
        Step::All(_) | Step::First(_) | Step::One(_) | Step::Orphans(_) => {
            take_group(step, job, world, held).await;
        }
        Step::Timeout(millis, child) => {
            let promise = spawn(child, job, world, held);
            let outcome = timeout(Duration::from_millis(*millis), promise).await;
            see_or_give_up(child.job.id, outcome.ok(), job, world, held);
        }
        Step::Deadline(millis, child) => {
            let end = now() + Duration::from_millis(*millis);
            world.add(Event::Limited { child: child.job.id, end: world.record.until(end) });
            let outcome = deadline(end, async { spawn(child, job, world, held).await }).await;
            see_or_give_up(child.job.id, outcome.ok(), job, world, held);
        }
        Step::Shield(millis, limit, inner) => {
            shield((*millis, *limit), inner, job, world, held).await;
        }
        Step::Own { resource, is_async } => {
            own(*resource, *is_async, job, world);
            held.push(*resource);
        }
        Step::Use(resource) => {
            let ours = use_it(world, job.id, *resource);
            assert!(ours, "job {} has lost its resource", job.id);
        }
        Step::Release(resource) => {
            held.retain(|held| held != resource);
            world.add(Event::Released { resource: *resource });
            world.resource(*resource).release();
        }
        Step::Defer(number) => put_off(*number, job, world),
        Step::Lock(lock, yields) => {
            let _locked = world.shared.locks[*lock].lock().await;
            let _holding = Holding::new(job.id, *lock, world);
            for _ in 0..*yields {
                yield_now().await;
            }
        }
        Step::Wait(lock, millis) => wait(*lock, *millis, job, world).await,
        Step::Signal(lock) => {
            let called = world.shared.conditions[*lock].signal();
            world.add(Event::Signalled { lock: *lock, called });
        }
    }
}

/// Waits for a condition, for so many milliseconds at most.
async fn wait(lock: usize, millis: u64, job: &Job, world: &World) {
    let waiting = async {
        let locked = world.shared.locks[lock].lock().await;
        drop(Holding::new(job.id, lock, world));
        // It unlocks at its first poll, which comes now.
        let standing = Standing::new(job.id, lock, world);
        let _locked = world.shared.conditions[lock].wait(locked).await;
        standing.called();
        let _holding = Holding::new(job.id, lock, world);
        yield_now().await;
    };
    if timeout(Duration::from_millis(millis), waiting).await.is_err() {
        world.add(Event::TimedOut { job: job.id, lock });
    }
}

async fn take_group(step: &Step, job: &Job, world: &World, held: &mut Vec<usize>) {
    match step {
        Step::All(children) => {
            let promises: Vec<_> =
                children.iter().map(|child| spawn(child, job, world, held)).collect();
            let outcomes = await_all(promises).await;
            for (child, outcome) in children.iter().zip(outcomes) {
                see(child.job.id, outcome, job, world, held);
            }
        }
        Step::First(children) => {
            for child in children {
                world.add(Event::Races { child: child.job.id, race: children[0].job.id });
            }
            let promises: Vec<_> =
                children.iter().map(|child| spawn(child, job, world, held)).collect();
            let outcome = await_first(promises).await;
            let first = job_of(&outcome);
            if let Some(child) = first {
                see(child, outcome, job, world, held);
            }
            for child in children.iter().filter(|child| Some(child.job.id) != first) {
                world.add(Event::Lost { child: child.job.id });
            }
        }
        Step::One(children) => {
            let mut promises: Vec<_> =
                children.iter().map(|child| spawn(child, job, world, held)).collect();
            while !promises.is_empty() {
                let outcome = await_one(&mut promises).await;
                if let Some(child) = job_of(&outcome) {
                    see(child, outcome, job, world, held);
                }
            }
        }
        Step::Orphans(children) => {
            let orphans = Orphans::new();
            for child in children {
                let (task, body) = prepare(child, world, held);
                let id = task.orphans(&orphans).try_spawn(body()).expect("it has no limit");
                let (parent, child) = (job.id, child.job.id);
                world.add(Event::Spawned { parent, child, task: Some(id) });
            }
            while let Some(outcome) = orphans.next().await {
                if let Some(child) = job_of(&outcome) {
                    see(child, outcome, job, world, held);
                }
            }
        }
        _ => unreachable!("only groups come here"),
    }
}

/// The job that an outcome tells of, if it can be told.
fn job_of(outcome: &Outcome<Done, Failed>) -> Option<usize> {
    match outcome {
        Ok(done) => Some(done.job),
        Err(TaskError::Failed(Failed(job))) => Some(*job),
        Err(TaskError::Panicked(panic)) => panic.message().strip_prefix("job ")?.parse().ok(),
        Err(TaskError::Cancelled(_)) => None,
    }
}

/// The task of a child, and the maker of its body.
fn prepare(
    child: &Child,
    world: &World,
    held: &mut Vec<usize>,
) -> (Task, impl FnOnce() -> Body + Send + 'static + use<>) {
    let mut task = Task::new().name(format!("job {}", child.job.id));
    if let Some(resource) = child.given {
        held.retain(|&held| held != resource);
        task = world.resource(resource).give(task);
        world.add(Event::Given { child: child.job.id, resource });
    }
    let (world, given) = (world.clone(), child.given);
    let inner = Arc::clone(&child.job);
    (task, move || body(&world, inner, given))
}

fn spawn(child: &Child, job: &Job, world: &World, held: &mut Vec<usize>) -> Promise<Done, Failed> {
    let (task, body) = prepare(child, world, held);
    let promise = match child.place {
        Place::Here => task.try_spawn(body()),
        Place::Away => task.try_call(body).expect("there are other domains"),
    };
    let (parent, task) = (job.id, Some(promise.id()));
    world.add(Event::Spawned { parent, child: child.job.id, task });
    promise
}

async fn shield(
    (millis, limit): (u64, u64),
    inner: &Arc<Job>,
    job: &Job,
    world: &World,
    held: &mut Vec<usize>,
) {
    let (parent, child, limit) = (job.id, inner.id, Duration::from_millis(limit));
    let shield = try_shield(body(world, Arc::clone(inner), None)).limit(limit);
    world.add(Event::Shielded { child, limit });
    world.add(Event::Spawned { parent, child, task: Some(shield.id()) });
    match timeout(Duration::from_millis(millis), shield).await {
        Ok(outcome) => see(child, outcome, job, world, held),
        Err(_) => world.add(Event::LetGo { child }),
    }
}

fn see(
    child: usize,
    outcome: Outcome<Done, Failed>,
    job: &Job,
    world: &World,
    held: &mut Vec<usize>,
) {
    let what = match &outcome {
        Ok(_) => Seen::Value,
        Err(TaskError::Failed(_)) => Seen::Error,
        Err(TaskError::Panicked(_)) => Seen::Panic,
        Err(TaskError::Cancelled(_)) => Seen::Cancelled,
    };
    world.add(Event::Saw { child, what });
    take_gifts(outcome.ok(), job, world, held);
}

/// What a child has handed over is the parent's.
fn take_gifts(done: Option<Done>, job: &Job, world: &World, held: &mut Vec<usize>) {
    for gift in done.into_iter().flat_map(|done| done.gifts) {
        let ours = use_it(world, job.id, gift);
        assert!(ours, "job {} was given {gift}, which is not its own", job.id);
        held.push(gift);
    }
}

fn see_or_give_up(
    child: usize,
    outcome: Option<Outcome<Done, Failed>>,
    job: &Job,
    world: &World,
    held: &mut Vec<usize>,
) {
    match outcome {
        Some(outcome) => see(child, outcome, job, world, held),
        None => world.add(Event::GivenUp { child }),
    }
}

fn own(resource: usize, is_async: bool, job: &Job, world: &World) {
    let made = Held::new(resource, is_async, &world.record);
    let mut attic = world.shared.attic.lock().unwrap_or_else(PoisonError::into_inner);
    attic.insert(resource, made);
    drop(attic);
    world.add(Event::Owned { job: job.id, resource });
}

fn put_off(resource: usize, job: &Job, world: &World) {
    let record = world.record.clone();
    world.add(Event::Deferred { job: job.id, resource });
    defer(async move {
        record.add(Event::Begun { resource });
        yield_now().await;
        sleep(Duration::from_millis(resource as u64 % 3)).await;
        record.add(Event::Finalized { resource });
    });
}
