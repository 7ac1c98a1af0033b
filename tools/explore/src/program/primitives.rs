//! The steps that use reader-writer locks, triggers, barriers, cells and computations.

use std::future::Future;
use std::time::Duration;

use matou_runtime::{call, sleep, spawn, timeout};
use matou_sync::{
    Barrier, Completer, Computation, ComputationError, OnceCell, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Trigger,
};

use super::environment::{AcquisitionGuard, AsideGuard, Environment};
use super::generate::Generator;
use super::interpreter::Interpreter;
use crate::event::{Event, Target};
use crate::primitive_event::{ComputationEnd, PrimitiveEvent};
use crate::record::Record;

const RW_LOCKS: u64 = 1;
const CELLS: u64 = 3;
/// The number of jobs that a barrier lets go on together.
pub(crate) const BARRIER_SIZE: usize = 2;
/// The triggers: a latched one, and one that keeps so many signals.
pub(crate) const LATCHED: usize = 0;
pub(crate) const SIGNALS_MAX: usize = 1;
const TRIGGERS: u64 = 2;

/// For how long a job waits for a trigger after it has set the future aside.
const TRIGGER_TIMEOUT: Duration = Duration::from_millis(150);

/// A step that uses a primitive. Durations are in milliseconds.
#[derive(Debug)]
pub(crate) enum PrimitiveStep {
    /// Holds a reader-writer lock, if the job gets it before the timeout. After half of the time a
    /// writer may become a reader.
    Hold { lock: usize, writes: bool, downgrades: bool, millis: u64, timeout: u64 },
    /// Polls a future that waits for a reader-writer lock or a trigger, sets it aside while
    /// sleeping if it has to wait, and then awaits it or drops it.
    SetAside { target: Target, millis: u64, resumes: bool },
    /// Signals a trigger.
    Signal(usize),
    /// Resets a trigger.
    Reset(usize),
    /// Waits for a trigger, with a timeout.
    Wait { trigger: usize, timeout: u64 },
    /// Waits at the barrier, with a timeout.
    Meet { timeout: u64 },
    /// Waits for the value of a cell, with a timeout. The initializer takes some time, and may
    /// fail.
    Get { cell: usize, value: usize, fails: bool, millis: u64, timeout: u64 },
    /// Waits for a computation that a child ends after some time, with a timeout.
    Compute { end: ComputationEnd, is_local: bool, millis: u64, timeout: u64 },
}

impl Generator {
    pub(super) fn primitive_step(&mut self) -> PrimitiveStep {
        let (lock, trigger) = (self.below(RW_LOCKS) as usize, self.below(TRIGGERS) as usize);
        // A long time shows whether others wait for nothing in the meantime.
        let long = if self.chance(30) { 250 } else { self.below(12) };
        match self.below(39) {
            0..8 => {
                let (writes, downgrades) = (self.chance(40), self.chance(40));
                let timeout = self.below(400);
                PrimitiveStep::Hold { lock, writes, downgrades, millis: long, timeout }
            }
            8..16 => PrimitiveStep::SetAside {
                target: match self.below(4) {
                    0 => Target::Read(lock),
                    1 => Target::Write(lock),
                    _ => Target::Trigger(trigger),
                },
                millis: self.below(400),
                resumes: self.chance(60),
            },
            16..21 => PrimitiveStep::Signal(trigger),
            21..23 => PrimitiveStep::Reset(trigger),
            23..27 => PrimitiveStep::Wait { trigger, timeout: self.below(300) },
            27..32 => PrimitiveStep::Meet { timeout: self.below(150) },
            32..35 => PrimitiveStep::Get {
                cell: self.below(CELLS) as usize,
                value: self.new_resource(),
                fails: self.chance(40),
                millis: self.below(40),
                timeout: self.below(150),
            },
            _ => PrimitiveStep::Compute {
                end: match self.below(3) {
                    0 => ComputationEnd::Returned(self.new_resource()),
                    1 => ComputationEnd::Cancelled,
                    _ => ComputationEnd::Abandoned,
                },
                is_local: self.chance(50),
                millis: self.below(40),
                timeout: self.below(250),
            },
        }
    }
}

/// The primitives that all jobs share.
pub(super) struct Primitives {
    locks: [RwLock<()>; RW_LOCKS as usize],
    triggers: [Trigger; TRIGGERS as usize],
    barrier: Barrier,
    cells: [OnceCell<usize>; CELLS as usize],
}

impl Primitives {
    pub(super) fn new() -> Primitives {
        Primitives {
            locks: Default::default(),
            triggers: [Trigger::latched(), Trigger::counted(SIGNALS_MAX)],
            barrier: Barrier::new(BARRIER_SIZE),
            cells: Default::default(),
        }
    }
}

impl<'a> Interpreter<'a> {
    pub(super) async fn run_primitive(&self, step: &PrimitiveStep) {
        match *step {
            PrimitiveStep::Hold { lock, writes, downgrades, millis, timeout: limit } => {
                let acquisition = self.acquire_shared(lock, writes);
                if let Ok(held) = timeout(Duration::from_millis(limit), acquisition).await {
                    sleep(Duration::from_millis(millis / 2)).await;
                    let held = if downgrades { held.downgrade() } else { held };
                    sleep(Duration::from_millis(millis / 2)).await;
                    drop(held);
                }
            }
            PrimitiveStep::SetAside { target, millis, resumes } => {
                self.set_primitive_aside(target, millis, resumes).await;
            }
            PrimitiveStep::Signal(trigger) => {
                let had_effect = self.primitives().triggers[trigger].signal();
                self.record_primitive(PrimitiveEvent::Triggered { trigger, had_effect });
            }
            PrimitiveStep::Reset(trigger) => {
                let was_signaled = self.primitives().triggers[trigger].reset();
                self.record_primitive(PrimitiveEvent::TriggerReset { trigger, was_signaled });
            }
            PrimitiveStep::Wait { trigger, timeout: limit } => {
                let wait = self.primitives().triggers[trigger].wait();
                let wait = self.pass_trigger(trigger, wait);
                let _ = timeout(Duration::from_millis(limit), wait).await;
            }
            PrimitiveStep::Meet { timeout: limit } => {
                let _ = timeout(Duration::from_millis(limit), self.pass_barrier()).await;
            }
            PrimitiveStep::Get { cell, value, fails, millis, timeout: limit } => {
                let read = self.read_cell(cell, (!fails).then_some(value), millis);
                let _ = timeout(Duration::from_millis(limit), read).await;
            }
            PrimitiveStep::Compute { end, is_local, millis, timeout } => {
                self.compute(end, is_local, millis, timeout).await;
            }
        }
    }

    fn primitives(&self) -> &'a Primitives {
        self.environment.primitives()
    }

    fn record_primitive(&self, event: PrimitiveEvent) {
        self.record(Event::Primitive(event));
    }

    async fn acquire_shared(&self, lock: usize, writes: bool) -> HeldShared<'a> {
        let shared = &self.primitives().locks[lock];
        let guard = if writes {
            SharedGuard::Write(self.wait_for(Target::Write(lock), shared.write()).await)
        } else {
            SharedGuard::Read(self.wait_for(Target::Read(lock), shared.read()).await)
        };
        self.held_shared(lock, guard)
    }

    fn held_shared(&self, lock: usize, guard: SharedGuard<'a>) -> HeldShared<'a> {
        let writes = matches!(guard, SharedGuard::Write(_));
        let job = self.job.id;
        self.record_primitive(PrimitiveEvent::Locked { job, lock, writes });
        HeldShared { note: SharedNote { job, lock, environment: self.environment }, guard }
    }

    async fn set_primitive_aside(&self, target: Target, millis: u64, resumes: bool) {
        let primitives = self.primitives();
        match target {
            Target::Read(lock) => {
                let read = primitives.locks[lock].read();
                if let Some(guard) = self.set_wait_aside(target, read, millis, resumes).await {
                    drop(self.held_shared(lock, SharedGuard::Read(guard)));
                }
            }
            Target::Write(lock) => {
                let write = primitives.locks[lock].write();
                if let Some(guard) = self.set_wait_aside(target, write, millis, resumes).await {
                    drop(self.held_shared(lock, SharedGuard::Write(guard)));
                }
            }
            Target::Trigger(trigger) => {
                let wait = primitives.triggers[trigger].wait();
                let limit = Duration::from_millis(millis) + TRIGGER_TIMEOUT;
                let pass = async {
                    if self.set_wait_aside(target, wait, millis, resumes).await.is_some() {
                        let job = self.job.id;
                        self.record_primitive(PrimitiveEvent::TriggerPassed { job, trigger });
                    }
                };
                let _ = timeout(limit, pass).await;
            }
            _ => unreachable!("{target:?} belongs to other steps"),
        }
    }

    /// Polls a future once, sets it aside, and then awaits it or drops it. The caller records that
    /// it has the target.
    async fn set_wait_aside<F: Future + Unpin>(
        &self,
        target: Target,
        mut future: F,
        millis: u64,
        resumes: bool,
    ) -> Option<F::Output> {
        let aside = AsideGuard::new(self.job.id, target, self.environment);
        if let Some(output) = self.set_aside(target, &mut future, 1, millis).await {
            aside.ended();
            return Some(output);
        }
        aside.ended();
        self.record(Event::SetAsideEnded { job: self.job.id, target });
        if resumes {
            return Some(self.wait_for(target, future).await);
        }
        let waiting = AcquisitionGuard::new(self.job.id, target, self.environment);
        drop(future);
        drop(waiting);
        None
    }

    async fn pass_trigger(&self, trigger: usize, wait: impl Future<Output = ()>) {
        self.wait_for(Target::Trigger(trigger), wait).await;
        self.record_primitive(PrimitiveEvent::TriggerPassed { job: self.job.id, trigger });
    }

    async fn pass_barrier(&self) {
        let passed = self.wait_for(Target::Barrier, self.primitives().barrier.wait()).await;
        let (job, is_leader) = (self.job.id, passed.is_leader());
        self.record_primitive(PrimitiveEvent::BarrierPassed { job, is_leader });
    }

    /// Waits for the value of a cell. If the job is the one that computes it, its initializer
    /// returns `own`, or fails.
    async fn read_cell(&self, cell: usize, own: Option<usize>, millis: u64) {
        let (job, environment) = (self.job.id, self.environment);
        let init = || async move {
            let mut note = InitNote { job, cell, value: None, environment };
            self.record_primitive(PrimitiveEvent::InitStarted { job, cell });
            sleep(Duration::from_millis(millis)).await;
            note.value = own;
            own.ok_or(())
        };
        let get = self.primitives().cells[cell].get_or_try_init(init);
        let value = self.wait_for(Target::Cell(cell), get).await.ok().copied();
        self.record_primitive(PrimitiveEvent::CellRead { job, cell, value });
    }

    /// Waits for a computation that a child ends.
    async fn compute(&self, end: ComputationEnd, is_local: bool, millis: u64, limit: u64) {
        let job = self.job.id;
        let (completer, mut computation) = Computation::create();
        self.record_primitive(PrimitiveEvent::ComputationCreated { job });
        let record = self.environment.record.clone();
        let completion = Completion { job, record, completer: Some(completer) };
        let complete = move || async move {
            sleep(Duration::from_millis(millis)).await;
            completion.complete(end);
        };
        let child = if is_local {
            spawn(complete())
        } else {
            call(complete).expect("there are other domains")
        };
        let read = async {
            let result = if is_local {
                self.wait_for(Target::Computation(job), &mut computation).await
            } else {
                let read = self.wait_for(Target::Computation(job), computation.wait()).await;
                read.copied()
            };
            let end = match result {
                Ok(value) => ComputationEnd::Returned(value),
                Err(ComputationError::Cancelled) => ComputationEnd::Cancelled,
                Err(ComputationError::Abandoned) => ComputationEnd::Abandoned,
            };
            self.record_primitive(PrimitiveEvent::ComputationRead { job, end });
        };
        let _ = timeout(Duration::from_millis(limit), read).await;
        self.record_primitive(PrimitiveEvent::ComputationDropped { job });
        drop(computation);
        let _ = child.await;
    }
}

enum SharedGuard<'a> {
    Read(RwLockReadGuard<'a, ()>),
    Write(RwLockWriteGuard<'a, ()>),
}

/// A reader-writer lock that a job holds.
struct HeldShared<'a> {
    /// Dropped before the lock is released.
    note: SharedNote<'a>,
    guard: SharedGuard<'a>,
}

impl HeldShared<'_> {
    /// Makes a writer a reader.
    fn downgrade(self) -> Self {
        let HeldShared { note, guard } = self;
        let guard = match guard {
            SharedGuard::Write(guard) => {
                let SharedNote { job, lock, environment } = note;
                let event = PrimitiveEvent::Downgraded { job, lock };
                environment.record(Event::Primitive(event));
                SharedGuard::Read(RwLockWriteGuard::downgrade(guard))
            }
            SharedGuard::Read(guard) => SharedGuard::Read(guard),
        };
        HeldShared { note, guard }
    }
}

/// Records the release of a reader-writer lock.
struct SharedNote<'a> {
    job: usize,
    lock: usize,
    environment: &'a Environment,
}

impl Drop for SharedNote<'_> {
    fn drop(&mut self) {
        let event = PrimitiveEvent::Unlocked { job: self.job, lock: self.lock };
        self.environment.record(Event::Primitive(event));
    }
}

/// Records how an initializer ends.
struct InitNote<'a> {
    job: usize,
    cell: usize,
    value: Option<usize>,
    environment: &'a Environment,
}

impl Drop for InitNote<'_> {
    fn drop(&mut self) {
        let InitNote { job, cell, value, environment } = *self;
        environment.record(Event::Primitive(PrimitiveEvent::InitEnded { job, cell, value }));
    }
}

/// The completer of a job's computation. Records how it ends the computation.
struct Completion {
    job: usize,
    record: Record,
    completer: Option<Completer<usize>>,
}

impl Completion {
    fn complete(mut self, end: ComputationEnd) {
        let Some(completer) = &self.completer else { return };
        let is_first = match end {
            ComputationEnd::Returned(value) => completer.try_return(value).is_ok(),
            ComputationEnd::Cancelled => completer.try_cancel(),
            // It happens when this value is dropped.
            ComputationEnd::Abandoned => return,
        };
        self.record(end, is_first);
        self.completer = None;
    }

    fn record(&self, end: ComputationEnd, is_first: bool) {
        let event = PrimitiveEvent::ComputationEnded { job: self.job, end, is_first };
        self.record.add(Event::Primitive(event));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(completer) = self.completer.take() {
            self.record(ComputationEnd::Abandoned, completer.is_running());
        }
    }
}
