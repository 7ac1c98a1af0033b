use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::replay;
use super::stepper::{Limits, simulate};
use crate::domain::Domain;
use crate::panics;
use crate::run::{Builder, Forgotten, MainError, RunError};
use crate::signal::{self, Signal};
use crate::task::TaskMeta;

/// How many of the last events a failure tells.
const TRACE_TOLD: usize = 24;

/// Runs `body` under each of the seeds, simulated, on three domains. See [the module](super).
///
/// # Panics
///
/// When a run fails. The message names the seed and how to replay it. With the environment variable
/// `MATOU_SEED` set, only that seed is run.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::test::check;
/// use matou_runtime::{call, sleep};
///
/// check(0..10, || async {
///     let day = call(|| sleep(Duration::from_secs(86_400)))?;
///     day.await?;
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// });
/// ```
#[track_caller]
pub fn check<B, F>(seeds: impl IntoIterator<Item = u64>, body: B)
where
    B: Fn() -> F,
    F: Future<Output: TestResult> + 'static,
{
    Check::simulated().run(seeds, body);
}

/// Runs `body` under each of the seeds, on three real domains: [`check`] with one word changed.
///
/// # Panics
///
/// When a run fails.
#[track_caller]
pub fn check_on_threads<B, F>(seeds: impl IntoIterator<Item = u64>, body: B)
where
    B: Fn() -> F,
    F: Future<Output: TestResult> + 'static,
{
    Check::threaded().run(seeds, body);
}

/// What the body of a test may return: nothing, or a result.
pub trait TestResult: 'static {
    /// Returns why the test failed, if it did.
    ///
    /// # Errors
    ///
    /// That of the body.
    fn into_result(self) -> Result<(), MainError>;
}

impl TestResult for () {
    fn into_result(self) -> Result<(), MainError> {
        Ok(())
    }
}

impl<E: Into<MainError> + 'static> TestResult for Result<(), E> {
    fn into_result(self) -> Result<(), MainError> {
        self.map_err(Into::into)
    }
}

/// How a body is checked.
///
/// # Examples
///
/// ```
/// use matou_runtime::test::Check;
/// use matou_runtime::{RunError, call};
///
/// let check = Check::simulated().domains(2);
/// let first = check.trial(7, async { Ok::<_, RunError>(call(|| async { 1 })) });
/// let again = check.trial(7, async { Ok::<_, RunError>(call(|| async { 1 })) });
/// assert_eq!(first.hash, again.hash);
/// assert!(first.outcome.unwrap_err().report().is_some()); // the child was forgotten
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `run` or `trial`"]
pub struct Check {
    builder: Builder,
    simulated: bool,
    max_ticks: u64,
    trace: usize,
}

/// A run of a body, and what became of it.
#[non_exhaustive]
pub struct Trial<T, E = MainError> {
    /// What the run returned.
    pub outcome: Result<T, RunError<E>>,
    /// A hash over the events of the run; 0 on real threads.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many turns the domains took.
    pub ticks: u64,
    /// How much virtual time passed.
    pub elapsed: Duration,
    /// The last events, as many as [`Check::trace`] asked for.
    pub trace: Vec<Event>,
}

impl Check {
    /// Steps all domains on one thread, in virtual time.
    pub fn simulated() -> Check {
        let builder = Builder::new().domains(3);
        Check { builder, simulated: true, max_ticks: 10_000_000, trace: 0 }
    }

    /// Runs on real threads, in real time. What only concerns simulated runs is ignored.
    pub fn threaded() -> Check {
        Check { simulated: false, ..Check::simulated() }
    }

    /// Sets how many domains there are, as [`Builder::domains`]. Default: 3.
    pub fn domains(mut self, domains: usize) -> Check {
        self.builder = self.builder.domains(domains);
        self
    }

    /// Sets how many polls a turn may make at most, as [`Builder::quantum`]. Default: 64. A
    /// simulated turn makes 4 at most, so that the domains take turns often.
    pub fn quantum(mut self, polls: usize) -> Check {
        self.builder = self.builder.quantum(polls);
        self
    }

    /// Sets the grace period, as [`Builder::grace`]. Default: 5 seconds, virtual ones.
    pub fn grace(mut self, grace: Duration) -> Check {
        self.builder = self.builder.grace(grace);
        self
    }

    /// Sets what a dropped promise means, as [`Builder::forgotten`].
    pub fn forgotten(mut self, forgotten: Forgotten) -> Check {
        self.builder = self.builder.forgotten(forgotten);
        self
    }

    /// Sets how many turns the domains of a simulated run may take in all. Default: 10,000,000.
    pub fn max_ticks(mut self, turns: u64) -> Check {
        self.max_ticks = turns;
        self
    }

    /// Sets how many of the last events of a simulated run a [`Trial`] holds. Default: none.
    pub fn trace(mut self, events: usize) -> Check {
        self.trace = events;
        self
    }

    /// Runs `body` under each of the seeds.
    ///
    /// The first seed of a simulated check is run twice, to see that it is repeatable, and so is
    /// one that fails.
    ///
    /// If the environment variable `MATOU_SEED` names a seed, only that one is run, whatever it
    /// comes to. If it names the hash of a failure, too, as the report of one does, then only in
    /// the check that failed, and the failure has to come again; the other checks of the test run
    /// nothing.
    ///
    /// # Panics
    ///
    /// When a run fails, or is not repeatable; the message says how to replay it.
    #[track_caller]
    pub fn run<B, F>(&self, seeds: impl IntoIterator<Item = u64>, body: B)
    where
        B: Fn() -> F,
        F: Future<Output: TestResult> + 'static,
    {
        let at = Location::caller();
        let once = |check: &Check, seed| {
            let main = body();
            check.trial_at(seed, async { main.await.into_result() }, at)
        };
        let number = replay::number_of_check();
        if let Some(wanted) = replay::wanted() {
            if wanted.belongs_to(number) {
                let trial = once(&self.clone().trace(TRACE_TOLD), wanted.seed);
                replay::complete(&trial, self.simulated, number, &wanted);
            }
            return;
        }
        for (index, seed) in seeds.into_iter().enumerate() {
            let trial = once(self, seed);
            if !self.simulated {
                replay::demand_success(&trial, seed);
            } else if trial.outcome.is_err() || index == 0 {
                let again = once(&self.clone().trace(TRACE_TOLD), seed);
                replay::compare(&trial, &again, number, seed);
            }
        }
    }

    /// Runs `main` once and returns what became of it, for tests of what goes wrong.
    #[track_caller]
    pub fn trial<F, T, E>(&self, seed: u64, main: F) -> Trial<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        self.trial_at(seed, main, Location::caller())
    }

    fn trial_at<F, T, E>(&self, seed: u64, main: F, at: &'static Location<'static>) -> Trial<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        let builder = self.builder.clone().seed(seed);
        if !self.simulated {
            return Trial::of(builder.run(main));
        }
        if Domain::is_inside() {
            return Trial::of(Err(RunError::Nested));
        }
        let (domains, config) = match builder.config() {
            Ok(config) => config,
            Err(error) => return Trial::of(Err(RunError::Setup(error))),
        };
        panics::install_hook();
        let about = TaskMeta::named(at, Arc::from("main"));
        let limits = Limits { max_ticks: self.max_ticks, trace_max: self.trace };
        simulate(domains, config, limits, about, main)
    }
}

impl<T, E> Trial<T, E> {
    /// A trial of which nothing is known but its outcome.
    fn of(outcome: Result<T, RunError<E>>) -> Trial<T, E> {
        let (elapsed, trace) = (Duration::ZERO, Vec::new());
        Trial { outcome, hash: 0, events: 0, ticks: 0, elapsed, trace }
    }
}

impl<T: fmt::Debug, E: fmt::Display> fmt::Debug for Trial<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("outcome", &self.outcome)
            .field("hash", &format_args!("{:016x}", self.hash))
            .field("events", &self.events)
            .field("ticks", &self.ticks)
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

/// Sends a signal to the present run: what the system would do.
///
/// Returns whether the run handles it; if not, the system would have ended the process. On real
/// threads it does the same, without the system and to this run alone.
///
/// # Panics
///
/// Outside a run.
///
/// # Examples
///
/// ```
/// use matou_runtime::signal::{self, Signal};
/// use matou_runtime::test::{check, send_signal};
///
/// check(0..10, || async {
///     let mut interrupts = signal::stream(Signal::Interrupt)?;
///     assert!(send_signal(Signal::Interrupt));
///     assert!(!send_signal(Signal::Terminate));
///     interrupts.next().await;
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[track_caller]
pub fn send_signal(signal: Signal) -> bool {
    Domain::with("`test::send_signal`", |domain| signal::raise(&domain.run, signal))
}
