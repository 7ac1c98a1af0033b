//! Blocking jobs of simulated runs, which begin and go on at drawn moments.

use std::io;
use std::mem;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::blocking::{Stepped, SteppedJob, Stop};
use crate::domain::{Domain, Timer};
use crate::outcome::Panic;
use crate::simulation::EventKind;

/// A job that takes virtual time, and between its looks at the stop flag none.
pub(super) struct SimulatedJob<F, T> {
    state: State<F, T>,
    stop: Stop,
    /// When it begins or goes on.
    moment: Timer,
    /// How often it has paused.
    pauses: u32,
}

enum State<F, T> {
    Waiting(F),
    Running(SteppedJob<T>),
    Gone,
}

impl<F, T> SimulatedJob<F, T>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
{
    pub(super) fn new(domain: &Domain, stop: Stop, job: F) -> SimulatedJob<F, T> {
        let moment = Timer::after(domain, drawn_delay(domain, 0));
        SimulatedJob { state: State::Waiting(job), stop, moment, pauses: 0 }
    }

    /// Runs the steps of the job that are due, and waits for its result.
    pub(super) fn poll(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Poll<Result<T, Panic>> {
        loop {
            ready!(self.moment.poll(domain, cx));
            let limit = match self.step(domain) {
                Ok(Stepped::Paused(limit)) => limit,
                Ok(Stepped::Ended(result)) => return Poll::Ready(result),
                Err(error) => {
                    let text = format!("no thread could be started for a blocking job: {error}");
                    return Poll::Ready(Err(Panic::from_message(text)));
                }
            };
            self.pauses += 1;
            let delay = limit.unwrap_or_else(|| drawn_delay(domain, self.pauses));
            self.moment = Timer::after(domain, delay);
        }
    }

    fn step(&mut self, domain: &Domain) -> io::Result<Stepped<T>> {
        if let Some(simulation) = domain.simulation() {
            let event = EventKind::Custom("step of a blocking job", u64::from(self.pauses));
            simulation.record(domain.index(), event);
        }
        let mut running = match mem::replace(&mut self.state, State::Gone) {
            State::Waiting(job) => SteppedJob::start(self.stop.clone(), job)?,
            State::Running(running) => running,
            State::Gone => unreachable!("a job that has ended is not polled"),
        };
        let stepped = running.step();
        self.state = State::Running(running);
        Ok(stepped)
    }

    /// Takes the job back if it has not begun; a draw decides whether it has. Otherwise it goes on
    /// soon, because its wait for the stop flag is over.
    pub(super) fn withdraw(&mut self, domain: &Domain) -> Option<F> {
        let simulation = domain.simulation()?;
        if let State::Waiting(_) = self.state
            && simulation.leaf_choice(domain.index(), 2) == 0
            && let State::Waiting(job) = mem::replace(&mut self.state, State::Gone)
        {
            return Some(job);
        }
        self.moment = Timer::after(domain, drawn_delay(domain, 0));
        None
    }
}

/// Draws how long a job takes up to its next look at the stop flag: below a millisecond at first,
/// longer in a job that has looked often, so that long times pass for one that waits for the flag.
fn drawn_delay(domain: &Domain, pauses: u32) -> Duration {
    let Some(simulation) = domain.simulation() else { return Duration::ZERO };
    let micros = simulation.leaf_choice(domain.index(), 1000) as u64;
    Duration::from_micros(micros << (pauses / 8).min(20))
}
