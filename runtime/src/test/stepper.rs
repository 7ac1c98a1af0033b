//! Steps all the domains of a run on one thread.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlock::Deadlock;
use super::event::Happening;
use super::world::Shared;
use super::{Clock, Trial};
use crate::domain::{Domain, OutcomeHandle};
use crate::driver::{Driver, ParkTimeout, Unpark};
use crate::run::{Config, Failure, Run, RunError, verdict};
use crate::spawn::spawn_root;
use crate::task::TaskMeta;

/// After how many turns at one moment time passes all the same, as much as a turn takes in truth: a
/// task that waits for the clock by yielding must see it move.
const TURNS_AT_ONE_MOMENT_MAX: u64 = 1000;
const TURN: Duration = Duration::from_micros(1);

/// After how many further ones turns take twice as long, so that a wait of hours comes to an end.
const TURNS_TO_DOUBLE: u64 = 10_000;
const DOUBLINGS_MAX: u64 = 20;

/// The same once the run was told to end, when it has only so many turns left: the grace periods
/// must come to their ends, however busy the tasks are.
const TURNS_TO_DOUBLE_AT_THE_END: u64 = 1000;
/// How many turns the end may take at least. In so many, days pass for busy tasks.
const TURNS_OF_THE_END_MIN: u64 = 200_000;
/// How many turns at one moment each task has at the end, in the mean, before they take twice as
/// long: quick finalizers of many tasks are to have their time.
const TURNS_OF_A_TASK: u64 = 4;

/// The driver of a simulated domain: it never waits.
struct Virtual(Arc<Clock>);

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

impl Driver for Virtual {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn park(&self, _: ParkTimeout) -> io::Result<()> {
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Nobody)
    }
}

/// What a simulated run is made of.
struct Stepper {
    run: Arc<Run>,
    world: Rc<Shared>,
    domains: Vec<Domain>,
    turns: u64,
    max_ticks: u64,
    turns_at_this_moment: u64,
    /// After how many turns at one moment they take twice as long.
    turns_to_double: u64,
    /// Whether the root was cancelled from here, because the run got nowhere.
    told_to_end: bool,
}

/// Runs `main` in virtual time on `domains` domains, all of them on the present thread.
pub(super) fn simulate<F, T, E>(
    domains: usize,
    config: Config,
    limits: Limits,
    about: TaskMeta,
    main: F,
) -> Trial<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    let clock = Arc::new(Clock::new());
    let world = Rc::new(Shared::new(config.seed, domains, Arc::clone(&clock), limits.trace_max));
    let run = Run::simulated(domains, config, &clock);
    let domain = |index| {
        let driver = Box::new(Virtual(Arc::clone(&clock)));
        Domain::simulated(Arc::clone(&run), index, driver, Some(Rc::clone(&world)))
    };
    let domains = (0..domains).map(domain).collect();
    let mut stepper = Stepper {
        run,
        world: Rc::clone(&world),
        domains,
        turns: 0,
        max_ticks: limits.max_ticks,
        turns_at_this_moment: 0,
        turns_to_double: TURNS_TO_DOUBLE,
        told_to_end: false,
    };
    let handle = spawn_root(&stepper.domains[0], about, main);
    let outcome = stepper.run_until_stopped(handle);
    Trial {
        outcome,
        hash: world.hash(),
        events: world.events(),
        ticks: stepper.turns,
        elapsed: clock.elapsed(),
        trace: world.take_trace(),
    }
}

/// What a simulated run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_ticks: u64,
    /// How many of the last events are kept.
    pub(super) trace_max: usize,
}

impl Stepper {
    fn run_until_stopped<T, E>(&mut self, handle: OutcomeHandle<T, E>) -> Result<T, RunError<E>> {
        let ended = self.step_to_end();
        self.run.signals.close();
        self.world.drop_states();
        if ended {
            self.domains.clear();
        } else {
            // The tasks that are left cannot be ended, and nobody may drop their futures: this run
            // is lost, memory included.
            std::mem::forget(std::mem::take(&mut self.domains));
        }
        if let Some(error) = self.run.take_error() {
            return Err(error);
        }
        // A run ends with its root.
        verdict(handle.take())
    }

    /// Gives turns to the domains until all have stopped. Returns false if they never will.
    fn step_to_end(&mut self) -> bool {
        while !self.domains.iter().all(Domain::is_stopped) {
            if self.turns >= self.max_ticks {
                if self.told_to_end {
                    return false;
                }
                self.tell_to_end(Failure::TickLimit(self.max_ticks));
            }
            if let Some(domain) = self.pick() {
                self.domains[domain].tick();
                self.turns += 1;
                self.creep();
            } else if !self.jump() {
                let deadlock = Deadlock::find(&self.domains, &self.world, self.told_to_end);
                if self.told_to_end {
                    self.run.overrule(Failure::Deadlock(deadlock));
                    return false;
                }
                self.tell_to_end(Failure::Deadlock(deadlock));
            }
        }
        true
    }

    fn tell_to_end(&mut self, failure: Failure) {
        self.told_to_end = true;
        self.turns_at_this_moment = 0;
        let mut tasks = 0;
        self.domains.iter().for_each(|domain| domain.for_each_task(|_, _| tasks += 1));
        self.turns_to_double = TURNS_TO_DOUBLE_AT_THE_END.max(tasks * TURNS_OF_A_TASK);
        // The end may take turns, too.
        let turns = self.max_ticks.max(TURNS_OF_THE_END_MIN).max(self.turns_to_double * 100);
        self.max_ticks = self.turns.saturating_add(turns);
        self.run.fail(failure);
    }

    /// Draws one of the domains that have something to do.
    fn pick(&self) -> Option<usize> {
        let able = |&index: &usize| self.domains[index].has_work();
        let count = (0..self.domains.len()).filter(able).count();
        let drawn = self.world.turns.below(count);
        (0..self.domains.len()).filter(able).nth(drawn)
    }

    /// Moves the clock to the next moment at which something happens by itself.
    fn jump(&mut self) -> bool {
        let living = self.domains.iter().filter(|domain| !domain.is_stopped());
        let clock = self.world.clock();
        // What lies beyond the end of the clock never comes.
        let moment = living.filter_map(Domain::next_event_at).min();
        let Some(moment) = moment.filter(|&moment| clock.reaches(moment)) else {
            return false;
        };
        clock.advance_to(moment);
        self.world.witness(0, Happening::ClockJumped);
        self.turns_at_this_moment = 0;
        true
    }

    /// Lets a little time pass when there were many turns at one moment, and the more the longer
    /// that lasts.
    fn creep(&mut self) {
        self.turns_at_this_moment += 1;
        let turns = self.turns_at_this_moment;
        if turns < TURNS_AT_ONE_MOMENT_MAX {
            return;
        }
        let doublings = (turns / self.turns_to_double).min(DOUBLINGS_MAX);
        self.world.clock().advance_by(TURN * (1 << doublings));
    }
}
