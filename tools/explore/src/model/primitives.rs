//! Reader-writer locks, triggers, the barrier, cells, and the computation of each job.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckResult, Model, ensure};
use crate::event::Target;
use crate::primitive_event::{ComputationEnd, PrimitiveEvent};
use crate::program::{BARRIER_SIZE, LATCHED, SIGNALS_MAX};

/// The state of the primitives, as far as the model knows it.
#[derive(Debug, Default)]
pub(super) struct Primitives {
    /// The jobs that hold each reader-writer lock, and whether they write.
    holders: BTreeMap<usize, Vec<(usize, bool)>>,
    /// The number of signals of each trigger; at most one of a latched trigger.
    signals: BTreeMap<usize, usize>,
    /// The jobs that may go on, although others may have to wait: those that waited when a latched
    /// trigger was signalled, or that met at the barrier.
    released: BTreeSet<(Target, usize)>,
    cells: BTreeMap<usize, Cell>,
    /// The end of each job's computation; `None` while it is running.
    computations: BTreeMap<usize, Option<ComputationEnd>>,
}

#[derive(Debug, Default)]
struct Cell {
    /// The job that computes the value.
    initializer: Option<usize>,
    value: Option<usize>,
}

impl Model {
    pub(super) fn apply_to_primitive(&mut self, event: PrimitiveEvent) -> CheckResult {
        match event {
            PrimitiveEvent::Locked { job, lock, writes } => self.shared_locked(job, lock, writes),
            PrimitiveEvent::Unlocked { job, lock } => self.shared_unlocked(job, lock),
            PrimitiveEvent::Downgraded { job, lock } => self.downgraded(job, lock),
            PrimitiveEvent::Triggered { trigger, had_effect } => {
                self.triggered(trigger, had_effect)
            }
            PrimitiveEvent::TriggerReset { trigger, was_signaled } => {
                let before = self.primitives.signals.insert(trigger, 0).unwrap_or(0);
                self.changed(Target::Trigger(trigger));
                ensure(was_signaled == (before > 0), || format!("{before} signals are reset"))
            }
            PrimitiveEvent::TriggerPassed { job, trigger } => self.trigger_passed(job, trigger),
            PrimitiveEvent::BarrierPassed { job, is_leader } => self.barrier_passed(job, is_leader),
            PrimitiveEvent::InitStarted { job, cell } => self.init_started(job, cell),
            PrimitiveEvent::InitEnded { job, cell, value } => self.init_ended(job, cell, value),
            PrimitiveEvent::CellRead { job, cell, value } => self.cell_read(job, cell, value),
            PrimitiveEvent::ComputationCreated { job } => {
                self.primitives.computations.insert(job, None);
                self.check_may_run(job)
            }
            PrimitiveEvent::ComputationEnded { job, end, is_first } => {
                let was_running = self.end_computation(job, end);
                ensure(is_first == was_running, || format!("it was running: {was_running}"))
            }
            PrimitiveEvent::ComputationRead { job, end } => {
                self.received(job, Target::Computation(job));
                let ended = self.primitives.computations[&job];
                ensure(ended == Some(end), || format!("the computation ended with {ended:?}"))
            }
            PrimitiveEvent::ComputationDropped { job } => {
                self.end_computation(job, ComputationEnd::Cancelled);
                Ok(())
            }
        }
    }

    /// Whether a job that waits for the target need not wait.
    pub(super) fn is_primitive_available(&self, target: Target) -> bool {
        let Primitives { holders, signals, cells, computations, .. } = &self.primitives;
        let holders = |lock| holders.get(&lock).map_or(&[][..], |holders| &holders[..]);
        match target {
            // A writer holds back the readers behind it.
            Target::Read(lock) => {
                let is_written = holders(lock).iter().any(|(_, writes)| *writes);
                !is_written && self.waiters(Target::Write(lock)).is_empty()
            }
            Target::Write(lock) => holders(lock).is_empty(),
            Target::Trigger(trigger) => signals.get(&trigger).is_some_and(|signals| *signals > 0),
            Target::Barrier => self.arrived().len() >= BARRIER_SIZE,
            Target::Cell(cell) => cells.get(&cell).is_none_or(|cell| cell.initializer.is_none()),
            Target::Computation(job) => computations.get(&job).is_some_and(Option::is_some),
            _ => unreachable!("{target:?} is no primitive of this module"),
        }
    }

    pub(super) fn is_released(&self, target: Target, job: usize) -> bool {
        self.primitives.released.contains(&(target, job))
    }

    /// Whether another job waits for this one by its wait for the target.
    pub(super) fn holds_primitive(&self, job: usize, target: Target) -> bool {
        match target {
            Target::Read(lock) | Target::Write(lock) => {
                let holders = self.primitives.holders.get(&lock);
                holders.is_some_and(|holders| holders.iter().any(|(holder, _)| *holder == job))
            }
            Target::Cell(cell) => {
                let cell = self.primitives.cells.get(&cell);
                cell.is_some_and(|cell| cell.initializer == Some(job))
            }
            _ => false,
        }
    }

    /// A job no longer waits for the target, whether or not it has it.
    pub(super) fn primitive_left(&mut self, job: usize, target: Target) {
        self.primitives.released.remove(&(target, job));
        match target {
            // It no longer holds readers back.
            Target::Write(lock) => self.changed(Target::Read(lock)),
            // The signal that was for it may be one too many to be kept.
            Target::Trigger(trigger) if trigger != LATCHED => {
                let most = SIGNALS_MAX + self.waiters_and_aside(target).len();
                let signals = self.primitives.signals.entry(trigger).or_default();
                *signals = most.min(*signals);
            }
            _ => {}
        }
    }

    /// After the run no lock is held.
    pub(super) fn check_primitives_left(&self) -> CheckResult {
        let holders = &self.primitives.holders;
        let are_free = holders.values().all(Vec::is_empty);
        ensure(are_free, || format!("reader-writer locks are still held: {holders:?}"))
    }

    /// Either one job writes, or any number of jobs read.
    fn shared_locked(&mut self, job: usize, lock: usize, writes: bool) -> CheckResult {
        self.check_may_run(job)?;
        let target = if writes { Target::Write(lock) } else { Target::Read(lock) };
        self.received(job, target);
        self.shared_changed(lock);
        let holders = self.primitives.holders.entry(lock).or_default();
        let excluded = holders.iter().find(|(_, holder_writes)| writes || *holder_writes).copied();
        holders.push((job, writes));
        ensure(excluded.is_none(), || format!("lock {lock} is held by (job, writes) {excluded:?}"))
    }

    fn shared_unlocked(&mut self, job: usize, lock: usize) -> CheckResult {
        self.shared_changed(lock);
        let holders = self.primitives.holders.entry(lock).or_default();
        let before = holders.len();
        holders.retain(|(holder, _)| *holder != job);
        ensure(before == holders.len() + 1, || format!("job {job} does not hold lock {lock}"))
    }

    fn downgraded(&mut self, job: usize, lock: usize) -> CheckResult {
        self.shared_changed(lock);
        let holders = self.primitives.holders.entry(lock).or_default();
        ensure(*holders == [(job, true)], || format!("lock {lock} is held by {holders:?}"))?;
        holders[0].1 = false;
        Ok(())
    }

    fn shared_changed(&mut self, lock: usize) {
        self.changed(Target::Read(lock));
        self.changed(Target::Write(lock));
    }

    /// A latched trigger lets all waiting jobs go on. A counted one keeps a limited number of
    /// signals in addition to those for the waiting jobs.
    fn triggered(&mut self, trigger: usize, had_effect: bool) -> CheckResult {
        let target = Target::Trigger(trigger);
        let waiting = self.waiters_and_aside(target);
        let signals = self.primitives.signals.entry(trigger).or_default();
        let most = if trigger == LATCHED { 1 } else { SIGNALS_MAX + waiting.len() };
        let has_room = *signals < most;
        ensure(had_effect == has_room, || format!("there are {signals} of {most} signals"))?;
        if has_room {
            *signals += 1;
            self.changed(target);
        }
        if has_room && trigger == LATCHED {
            self.primitives.released.extend(waiting.into_iter().map(|job| (target, job)));
        }
        Ok(())
    }

    fn trigger_passed(&mut self, job: usize, trigger: usize) -> CheckResult {
        self.check_may_run(job)?;
        let target = Target::Trigger(trigger);
        let is_signaled = self.is_available(target);
        let may_pass = is_signaled || self.is_released(target, job);
        ensure(may_pass, || format!("trigger {trigger} is not signalled"))?;
        if trigger != LATCHED {
            self.primitives.signals.entry(trigger).and_modify(|signals| *signals -= 1);
        }
        self.received(job, target);
        self.primitive_left(job, target);
        Ok(())
    }

    /// The jobs that wait at the barrier and have not met.
    fn arrived(&self) -> Vec<usize> {
        let waiting = self.waiters(Target::Barrier).into_iter();
        waiting.filter(|job| !self.is_released(Target::Barrier, *job)).collect()
    }

    /// The last job to arrive leads: it does not wait, and the others go on with it.
    fn barrier_passed(&mut self, job: usize, is_leader: bool) -> CheckResult {
        self.check_may_run(job)?;
        let arrived = self.arrived();
        let expected = if self.is_released(Target::Barrier, job) {
            false
        } else {
            ensure(arrived.len() == BARRIER_SIZE, || format!("only {arrived:?} have arrived"))?;
            self.primitives.released.extend(arrived.into_iter().map(|job| (Target::Barrier, job)));
            true
        };
        self.received(job, Target::Barrier);
        self.primitive_left(job, Target::Barrier);
        ensure(is_leader == expected, || format!("job {job} leads: {expected}"))
    }

    /// One job at a time computes the value of a cell, and only until there is one.
    fn init_started(&mut self, job: usize, cell: usize) -> CheckResult {
        self.check_may_run(job)?;
        self.changed(Target::Cell(cell));
        let state = self.primitives.cells.entry(cell).or_default();
        let is_first = state.initializer.is_none() && state.value.is_none();
        ensure(is_first, || format!("the cell has a value or an initializer: {state:?}"))?;
        state.initializer = Some(job);
        Ok(())
    }

    fn init_ended(&mut self, job: usize, cell: usize, value: Option<usize>) -> CheckResult {
        self.changed(Target::Cell(cell));
        let state = self.primitives.cells.entry(cell).or_default();
        let is_known = state.initializer == Some(job);
        ensure(is_known, || format!("job {job} does not initialize the cell: {state:?}"))?;
        *state = Cell { initializer: None, value };
        Ok(())
    }

    fn cell_read(&mut self, job: usize, cell: usize, value: Option<usize>) -> CheckResult {
        self.check_may_run(job)?;
        self.received(job, Target::Cell(cell));
        let state = self.primitives.cells.entry(cell).or_default();
        // Another job may have set the value since the initializer of this one failed.
        let is_right = value.is_none() || state.value == value;
        ensure(is_right, || format!("the value of the cell is {:?}", state.value))
    }

    /// Returns whether this is the first end of the computation.
    fn end_computation(&mut self, job: usize, end: ComputationEnd) -> bool {
        self.changed(Target::Computation(job));
        let state = self.primitives.computations.entry(job).or_default();
        let is_first = state.is_none();
        state.get_or_insert(end);
        is_first
    }
}
