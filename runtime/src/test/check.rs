use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::replay;
use super::stepper::{Limits, simulate};
use crate::diagnostic::Diagnostic;
use crate::domain::{Domain, Forgotten, Leaks, Violations};
use crate::panics;
use crate::run::{Builder, MainError, RunError};
use crate::signal::{self, Signal};
use crate::simulation::Event;
use crate::task::TaskMeta;

/// The number of events that the report of a failure shows.
const REPORTED_EVENTS: usize = 24;

/// Runs `body` in a simulated run on three domains, once for each seed. See [the module](super).
///
/// # Panics
///
/// Panics when a run fails. The message names the seed and how to replay it. If the environment
/// variable `MATOU_SEED` is set, only that seed is run.
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
#[doc(alias = "pause")]
#[doc(alias = "advance")]
#[track_caller]
pub fn check<B, F>(seeds: impl IntoIterator<Item = u64>, body: B)
where
    B: Fn() -> F,
    F: Future<Output: TestResult> + 'static,
{
    Check::simulated().run(seeds, body);
}

/// Runs `body` on three domains with threads of their own, once for each seed.
///
/// # Panics
///
/// Panics when a run fails.
#[track_caller]
pub fn check_on_threads<B, F>(seeds: impl IntoIterator<Item = u64>, body: B)
where
    B: Fn() -> F,
    F: Future<Output: TestResult> + 'static,
{
    Check::threaded().run(seeds, body);
}

/// The types that the body of a test may return: `()` or a result.
pub trait TestResult: 'static {
    /// Converts it into a result.
    ///
    /// # Errors
    ///
    /// The error of the body.
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

/// The settings of a check.
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
    repeatable: bool,
    max_ticks: u64,
    trace: usize,
}

/// The result of one run of a body.
#[non_exhaustive]
pub struct Trial<T, E = MainError> {
    /// The result of the run.
    pub outcome: Result<T, RunError<E>>,
    /// A hash of the events of the run; 0 on real threads.
    pub hash: u64,
    /// The number of events.
    pub events: u64,
    /// The number of ticks of all domains.
    pub ticks: u64,
    /// The virtual time that passed.
    pub elapsed: Duration,
    /// The last events, as many as [`Check::trace`] was set to.
    pub trace: Vec<Event>,
}

impl Check {
    /// Creates a check that runs all domains on one thread, in virtual time.
    ///
    /// Its settings are strict: each violation fails the run
    /// ([`Violations::FailRun`]), and so do forgotten children ([`Forgotten::Strict`]) and
    /// resources that a task leaves behind ([`Leaks::AtTaskEnd`]).
    pub fn simulated() -> Check {
        let builder = Builder::new()
            .domains(3)
            .violations(Violations::FailRun)
            .forgotten(Forgotten::Strict)
            .leaks(Leaks::AtTaskEnd);
        Check { builder, simulated: true, repeatable: true, max_ticks: 10_000_000, trace: 0 }
    }

    /// Creates a check on real threads, in real time. Settings of simulated runs have no effect.
    pub fn threaded() -> Check {
        Check { simulated: false, ..Check::simulated() }
    }

    /// Sets the number of domains, as [`Builder::domains`]. Default: 3.
    pub fn domains(mut self, domains: usize) -> Check {
        self.builder = self.builder.domains(domains);
        self
    }

    /// Sets the most polls in a tick, as [`Builder::quantum`]. Default: 64. A simulated tick makes
    /// at most 4, so that domains are interleaved often.
    pub fn quantum(mut self, polls: usize) -> Check {
        self.builder = self.builder.quantum(polls);
        self
    }

    /// Sets the grace period, as [`Builder::grace`]. Default: 5 seconds of virtual time.
    pub fn grace(mut self, grace: Duration) -> Check {
        self.builder = self.builder.grace(grace);
        self
    }

    /// Sets the effect of violations on the run, as [`Builder::violations`]. Default:
    /// [`Violations::FailRun`].
    pub fn violations(mut self, violations: Violations) -> Check {
        self.builder = self.builder.violations(violations);
        self
    }

    /// Sets when a resource counts as leaked, as [`Builder::leaks`]. Default:
    /// [`Leaks::AtTaskEnd`].
    pub fn leaks(mut self, leaks: Leaks) -> Check {
        self.builder = self.builder.leaks(leaks);
        self
    }

    /// Sets the function that receives diagnostics, as [`Builder::on_report`].
    pub fn on_report(mut self, hook: impl Fn(&Diagnostic) + Send + Sync + 'static) -> Check {
        self.builder = self.builder.on_report(hook);
        self
    }

    /// Sets the effect of dropping the promise of an unjoined child, as [`Builder::forgotten`].
    /// Default: [`Forgotten::Strict`].
    pub fn forgotten(mut self, forgotten: Forgotten) -> Check {
        self.builder = self.builder.forgotten(forgotten);
        self
    }

    /// Sets the most ticks of all domains in a simulated run. Default: 10,000,000.
    pub fn max_ticks(mut self, ticks: u64) -> Check {
        self.max_ticks = ticks;
        self
    }

    /// Sets whether runs of the same seed must be equal. Default: `true`. Set it to `false` for a
    /// body with a source of randomness of its own, such as TLS, whose keys no seed determines. A
    /// seed still determines the schedule and the faults as far as the body does the same, but no
    /// run is repeated, and a failure names its seed without a way to replay it exactly.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::MainError;
    /// use matou_runtime::test::Check;
    ///
    /// Check::simulated().repeatable(false).run(0..3, || async {
    ///     let now = std::time::SystemTime::now();
    ///     if now.elapsed()?.subsec_nanos() % 2 == 0 {
    ///         matou_runtime::yield_now().await;
    ///     }
    ///     Ok::<_, MainError>(())
    /// });
    /// ```
    pub fn repeatable(mut self, repeatable: bool) -> Check {
        self.repeatable = repeatable;
        self
    }

    /// Sets the number of last events of a simulated run that a [`Trial`] contains. Default: 0.
    pub fn trace(mut self, events: usize) -> Check {
        self.trace = events;
        self
    }

    /// Runs `body` once for each seed.
    ///
    /// A simulated check runs the first seed and every seed that fails twice, to verify that the
    /// run is repeatable.
    ///
    /// If the environment variable `MATOU_SEED` contains a seed, only that seed is run. If it also
    /// contains the hash of a failure, as the report of a failure prints it, only the check that
    /// failed is run, and must fail in the same way; the other checks of the test do nothing.
    ///
    /// # Panics
    ///
    /// Panics when a run fails or is not repeatable. The message says how to replay it.
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
        let number = replay::next_check();
        if let Some(replay) = replay::requested() {
            if replay.selects(number) {
                let trial = once(&self.clone().trace(REPORTED_EVENTS), replay.seed);
                replay::check_replay(&trial, self.simulated, number, &replay);
            }
            return;
        }
        for (index, seed) in seeds.into_iter().enumerate() {
            let trial = once(self, seed);
            if !self.simulated || !self.repeatable {
                let kind = if self.simulated { "simulated" } else { "on real threads" };
                replay::expect_success(&trial, seed, kind);
            } else if trial.outcome.is_err() || index == 0 {
                let again = once(&self.clone().trace(REPORTED_EVENTS), seed);
                replay::check_repetition(&trial, &again, number, seed);
            }
        }
    }

    /// Runs `main` once and returns the result, for tests of failures.
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
            return Trial::from_outcome(builder.run_at(main, at));
        }
        if Domain::is_inside() {
            return Trial::from_outcome(Err(RunError::Nested));
        }
        let (domains, config) = match builder.config() {
            Ok(config) => config,
            Err(error) => return Trial::from_outcome(Err(RunError::Setup(error))),
        };
        panics::install_hook();
        let meta = TaskMeta::named(at, Arc::from("main"));
        let limits = Limits { max_ticks: self.max_ticks, trace_max: self.trace };
        simulate(domains, config, limits, meta, main)
    }
}

impl<T, E> Trial<T, E> {
    /// Creates a trial that consists of an outcome only.
    fn from_outcome(outcome: Result<T, RunError<E>>) -> Trial<T, E> {
        let (elapsed, trace) = (Duration::ZERO, Vec::new());
        Trial { outcome, hash: 0, events: 0, ticks: 0, elapsed, trace }
    }
}

impl<T: fmt::Debug, E: fmt::Display + 'static> fmt::Debug for Trial<T, E> {
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

/// Delivers a signal to the current run, without the operating system.
///
/// Returns whether the run handles it; if not, the system would have terminated the process. On
/// real threads, other runs of the process do not receive it.
///
/// # Panics
///
/// Panics outside a run.
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
    Domain::with("`test::send_signal`", |domain| signal::send(&domain.run, signal))
}
