//! Runs all domains of a simulated run on one thread.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Trial;
use crate::domain::{Config, Domain, OutcomeHandle, Run, RunFailure};
use crate::driver::{Driver, ParkTimeout, Unpark};
use crate::panics;
use crate::run::{RunError, result_of};
use crate::signal;
use crate::simulation::{BlockedTask, Deadlock, EventKind, SimulationState, VirtualClock};
use crate::spawn::spawn_root;
use crate::task::TaskMeta;

/// The number of ticks at one moment after which the clock advances by [`TICK`] in each further
/// one: a task that polls the clock in a loop must see it advance.
const TICKS_AT_ONE_MOMENT_MAX: u64 = 1000;
const TICK: Duration = Duration::from_micros(1);

/// The number of further ticks after which a tick takes twice as long, so that a busy wait of hours
/// ends.
const TICKS_TO_DOUBLE: u64 = 10_000;
const DOUBLINGS_MAX: u64 = 20;

/// The same after the run was cancelled. The remaining ticks are limited then, and the grace
/// periods must elapse within them even if tasks are busy.
const TICKS_TO_DOUBLE_AFTER_CANCEL: u64 = 1000;
/// The least number of ticks after the run was cancelled. Even if tasks are busy, days of virtual
/// time pass within them.
const TICKS_AFTER_CANCEL_MIN: u64 = 200_000;
/// The ticks at one moment for each task, on average, before they take twice as long, so that the
/// quick finalizers of many tasks can complete.
const TICKS_PER_TASK: u64 = 4;

/// The driver of a simulated domain, which never waits.
struct VirtualDriver(Arc<VirtualClock>);

struct NoUnpark;

impl Unpark for NoUnpark {
    fn unpark(&self) {}
}

impl Driver for VirtualDriver {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn park(&self, _: ParkTimeout) -> io::Result<()> {
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(NoUnpark)
    }
}

/// A simulated run.
struct Stepper {
    run: Arc<Run>,
    state: Rc<SimulationState>,
    domains: Vec<Domain>,
    ticks: u64,
    max_ticks: u64,
    ticks_at_this_moment: u64,
    /// The number of ticks at one moment after which a tick takes twice as long.
    ticks_to_double: u64,
    /// The stepper has cancelled the root, because the run was stuck.
    cancelled: bool,
}

/// The limits of a simulated run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_ticks: u64,
    /// The number of events to keep.
    pub(super) trace_max: usize,
}

/// Runs `main` in virtual time on `domains` domains, all on the current thread.
pub(super) fn simulate<F, T, E>(
    domains: usize,
    config: Config,
    limits: Limits,
    meta: TaskMeta,
    main: F,
) -> Trial<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    let clock = Arc::new(VirtualClock::new());
    let state = SimulationState::new(config.seed, domains, Arc::clone(&clock), limits.trace_max);
    let state = Rc::new(state);
    let mut stepper = Stepper::new(domains, config, limits.max_ticks, &clock, &state);
    let handle = spawn_root(&stepper.domains[0], meta.clone(), main);
    let outcome = stepper.run_to_completion(&meta, handle);
    Trial {
        outcome,
        hash: state.hash(),
        events: state.events(),
        ticks: stepper.ticks,
        elapsed: clock.elapsed(),
        trace: state.take_trace(),
    }
}

impl Stepper {
    fn new(
        domains: usize,
        config: Config,
        max_ticks: u64,
        clock: &Arc<VirtualClock>,
        state: &Rc<SimulationState>,
    ) -> Stepper {
        let run = Run::simulated(domains, config, clock);
        let domain = |index| {
            let driver = Box::new(VirtualDriver(Arc::clone(clock)));
            Domain::with_simulation(Arc::clone(&run), index, driver, Some(Rc::clone(state)))
        };
        let domains = (0..domains).map(domain).collect();
        Stepper {
            run,
            state: Rc::clone(state),
            domains,
            ticks: 0,
            max_ticks,
            ticks_at_this_moment: 0,
            ticks_to_double: TICKS_TO_DOUBLE,
            cancelled: false,
        }
    }

    fn run_to_completion<T, E: 'static>(
        &mut self,
        main: &TaskMeta,
        handle: OutcomeHandle<T, E>,
    ) -> Result<T, RunError<E>> {
        let completed = self.step_until_stopped();
        signal::end_run(&self.run);
        self.state.drop_values();
        if completed {
            self.domains.clear();
        } else {
            // The remaining tasks cannot complete, and their futures must not be dropped before
            // their children: leak them.
            self.domains.iter().for_each(Domain::flush_diagnostics);
            mem::forget(mem::take(&mut self.domains));
        }
        result_of(&self.run, main, completed.then(|| handle.take()))
    }

    /// Runs ticks until all domains have stopped. Returns `false` if they never will.
    fn step_until_stopped(&mut self) -> bool {
        while !self.domains.iter().all(Domain::is_stopped) {
            if self.ticks >= self.max_ticks {
                if self.cancelled {
                    return false;
                }
                self.cancel_run(RunFailure::TickLimit(self.max_ticks));
            }
            if let Some(domain) = self.choose_domain() {
                self.domains[domain].tick();
                self.ticks += 1;
                self.advance_slowly();
            } else if !self.advance_to_next_event() {
                let deadlock = RunFailure::Deadlock(self.describe_deadlock());
                if self.cancelled {
                    self.run.errors().replace_with(deadlock);
                    return false;
                }
                self.cancel_run(deadlock);
            }
        }
        true
    }

    /// Cancels the root, and sets the limits of the remaining ticks.
    fn cancel_run(&mut self, failure: RunFailure) {
        self.cancelled = true;
        self.ticks_at_this_moment = 0;
        let mut tasks = 0;
        self.domains.iter().for_each(|domain| domain.for_each_task(|_, _| tasks += 1));
        self.ticks_to_double = TICKS_TO_DOUBLE_AFTER_CANCEL.max(tasks * TICKS_PER_TASK);
        let ticks = self.max_ticks.max(TICKS_AFTER_CANCEL_MIN).max(self.ticks_to_double * 100);
        self.max_ticks = self.ticks.saturating_add(ticks);
        let rejected = self.run.fail(failure);
        panics::ignore(|| drop(rejected));
    }

    /// Draws one of the domains that have work.
    fn choose_domain(&self) -> Option<usize> {
        let has_work = |&index: &usize| self.domains[index].has_work();
        let count = (0..self.domains.len()).filter(has_work).count();
        let drawn = self.state.choose_domain(count);
        (0..self.domains.len()).filter(has_work).nth(drawn)
    }

    /// Advances the clock to the next deadline or message. Returns `false` if there is none.
    fn advance_to_next_event(&mut self) -> bool {
        let running = self.domains.iter().filter(|domain| !domain.is_stopped());
        let clock = self.state.clock();
        let moment = running.filter_map(Domain::next_event_at).min();
        // A deadline beyond the range of the clock never elapses.
        let Some(moment) = moment.filter(|&moment| clock.can_reach(moment)) else {
            return false;
        };
        clock.advance_to(moment);
        self.state.record(0, EventKind::ClockAdvanced);
        self.ticks_at_this_moment = 0;
        true
    }

    /// Advances the clock a little after many ticks at one moment, and in larger steps the longer
    /// that lasts.
    fn advance_slowly(&mut self) {
        self.ticks_at_this_moment += 1;
        let ticks = self.ticks_at_this_moment;
        if ticks < TICKS_AT_ONE_MOMENT_MAX {
            return;
        }
        let doublings = (ticks / self.ticks_to_double).min(DOUBLINGS_MAX);
        self.state.clock().advance_by(TICK * (1 << doublings));
    }

    fn describe_deadlock(&self) -> Deadlock {
        let mut tasks = Vec::new();
        for domain in &self.domains {
            domain.for_each_task(|tree, slot| {
                tasks.push(BlockedTask::new(tree, slot, domain.index(), &self.state));
            });
        }
        Deadlock::new(tasks, self.cancelled)
    }
}
