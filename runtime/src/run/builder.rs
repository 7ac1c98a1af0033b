use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::mem;
use std::panic::{self, Location};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::error::{RunError, result_of};
use crate::diagnostic::{Diagnostic, Hook};
use crate::domain::{Config, Domain, DomainHook, Forgotten, Leaks, Run, Violations};
use crate::driver::{Driver, Reactor};
use crate::spawn::spawn_root;
use crate::task::TaskMeta;
use crate::{host, panics, signal};

/// The most domains that a run may have. The number of a domain is part of the ids of its tasks.
const DOMAINS_MAX: usize = 1024;

type MakeDriver = Arc<dyn Fn(usize) -> io::Result<Box<dyn Driver>> + Send + Sync>;

/// Runs `main` and all its descendants to completion.
///
/// The calling thread becomes domain 0; there is one further domain for each further core, and at
/// least one. The
/// function returns when `main` and all its descendants have completed, their resources are
/// finalized, and the other threads have ended, for any reason.
///
/// # Forked processes
///
/// A process that is forked inside a run, without `exec`, shares the descriptors of its parent, but
/// has only the thread that called `fork`. It must stay in the task that forked it, and can close
/// its copies of sockets there, which affects no registration of the parent, or start a run of its
/// own, in which signals work as in any other. If it leaves that task, no other task is polled:
/// the run returns [`RunError::Forked`], or the process aborts if the task was on another domain
/// than the first. Signals that the parent handles terminate the new process until it handles them
/// itself. A `fork` that bypasses the C library is not noticed.
///
/// # Errors
///
/// Returns a [`RunError`] if `main` failed or panicked, a rule was violated, or the run could not
/// start.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, run, spawn, try_spawn};
///
/// fn main() -> Result<(), RunError> {
///     run(async {
///         let a = spawn(async { 40 });
///         let b = try_spawn(async { "2".parse::<i32>() });
///         println!("{}", a.await? + b.await?);
///         Ok(())
///     })
/// }
/// ```
#[doc(alias = "block_on")]
#[doc(alias = "Runtime")]
#[track_caller]
pub fn run<F, T, E>(main: F) -> Result<T, RunError<E>>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    Builder::new().run(main)
}

/// The settings of a run.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{Builder, RunError};
///
/// # fn main() -> Result<(), RunError> {
/// let answer = Builder::new()
///     .domains(2)
///     .seed(7)
///     .quantum(64)
///     .grace(Duration::from_secs(5))
///     .run(async { Ok::<_, std::io::Error>(42) });
/// assert!(matches!(answer, Ok(42)));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Runtime")]
#[doc(alias = "Executor")]
#[doc(alias = "LocalExecutor")]
#[derive(Clone)]
#[must_use = "settings do nothing until `run`"]
pub struct Builder {
    domains: Option<usize>,
    seed: Option<u64>,
    quantum: usize,
    grace: Duration,
    slow_poll: Duration,
    violations: Violations,
    forgotten: Forgotten,
    leaks: Leaks,
    blocking_threads: usize,
    calls_to_domain_0: bool,
    on_start: Option<DomainHook>,
    on_stop: Option<DomainHook>,
    hook: Option<Hook>,
    make_driver: MakeDriver,
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

impl Builder {
    /// Creates a builder with the default settings.
    pub fn new() -> Builder {
        Builder {
            domains: None,
            seed: None,
            quantum: 64,
            grace: Duration::from_secs(5),
            slow_poll: Duration::from_millis(100),
            violations: Violations::default(),
            forgotten: Forgotten::default(),
            leaks: Leaks::default(),
            blocking_threads: 256,
            calls_to_domain_0: false,
            on_start: None,
            on_stop: None,
            hook: None,
            make_driver: Arc::new(|_| Ok(Box::new(Reactor::new()?))),
        }
    }

    /// Sets the number of domains, including domain 0: 1 to 1,024. Default: one for each core, and
    /// at least two, so that a [`call`](crate::call) has a target. With one domain a `call` returns
    /// [`NoDomainAvailable`](crate::NoDomainAvailable).
    pub fn domains(mut self, domains: usize) -> Builder {
        self.domains = Some(domains);
        self
    }

    /// Sets the seed of the pseudo-random choices of the run. Default: a random seed.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// Sets the most polls in a tick, after which a domain looks for events of the system. Default:
    /// 64, at least 1.
    ///
    /// If none of the polled tasks had yielded, one task that has yielded is polled in addition. If
    /// polls are slow, the tick ends early: after 100 us of yielding tasks or 400 us of others.
    pub fn quantum(mut self, polls: usize) -> Builder {
        self.quantum = polls;
        self
    }

    /// Sets the time limit of the asynchronous finalizers of a task, of a
    /// [`blocking`](crate::blocking()) job whose task is cancelled, and of a
    /// [`shield`](crate::shield) after a cancel request, unless the shield has its own
    /// [`limit`](crate::futures::Shield::limit). Default: 5 seconds.
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// Sets how long a poll may take. A longer one is the finding
    /// [`SlowPoll`](crate::Finding::SlowPoll), because no other task of its domain runs in the
    /// meantime. Default: 100 milliseconds; `Duration::MAX` turns it off.
    ///
    /// The clock is not read after each poll. If several polls between two reads took longer
    /// together, the next ones are measured one by one: of many fast polls a slow one is reported
    /// only if it happens again.
    #[doc(alias = "blocking")]
    pub fn slow_poll(mut self, limit: Duration) -> Builder {
        self.slow_poll = limit;
        self
    }

    /// Sets the effect of a violation on the run. Default: the task that committed it ends, and
    /// other tasks go on ([`Violations::FailTask`]).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{Builder, MainError, RunError, TaskError, Violations, spawn};
    ///
    /// async fn main_task() -> Result<(), MainError> {
    ///     let child = spawn(async { std::mem::forget(spawn(pending::<()>())) });
    ///     match child.await {
    ///         Err(TaskError::Violation(report)) => {
    ///             assert_eq!(report.violations()[0].name(), "StillHasChildren");
    ///         }
    ///         other => panic!("{other:?}"),
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let builder = Builder::new().on_report(|_| ());
    /// assert!(builder.clone().run(main_task()).is_ok());
    /// let result = builder.violations(Violations::FailRun).run(main_task());
    /// assert!(matches!(result, Err(RunError::Violated(_))));
    /// ```
    pub fn violations(mut self, violations: Violations) -> Builder {
        self.violations = violations;
        self
    }

    /// Sets the effect of dropping the promise of an unjoined child. Default:
    /// [`Forgotten::Report`].
    pub fn forgotten(mut self, forgotten: Forgotten) -> Builder {
        self.forgotten = forgotten;
        self
    }

    /// Sets when a resource that was not released counts as leaked. Default:
    /// [`Leaks::AtRunEnd`].
    pub fn leaks(mut self, leaks: Leaks) -> Builder {
        self.leaks = leaks;
        self
    }

    /// Sets the most threads that run [`blocking`](crate::blocking()) jobs at the same time.
    /// Default: 256, at least 1. A job that was left behind occupies its thread until it returns.
    #[doc(alias = "max_blocking_threads")]
    pub fn blocking_threads(mut self, threads: usize) -> Builder {
        self.blocking_threads = threads;
        self
    }

    /// Sets the function that receives the violations and findings of the run.
    ///
    /// It is called on the domain that reports something, after the poll in which that happened,
    /// and under no lock. Reports from threads that run no domain arrive on domain 0; after the end
    /// of the run they arrive on the thread that reports. A panic of the function is ignored.
    ///
    /// Default: they are printed to standard error, each finding once for each line of the program,
    /// with a count at the end of the run. With [`Violations::FailRun`] violations are not printed,
    /// because the run returns them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use std::sync::mpsc;
    /// use matou_runtime::{Builder, RunError, spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let (sender, reports) = mpsc::channel();
    /// Builder::new()
    ///     .on_report(move |diagnostic| drop(sender.send(diagnostic.name())))
    ///     .run(async {
    ///         let child = spawn(async { std::mem::forget(spawn(pending::<()>())) });
    ///         assert!(child.await.unwrap_err().is_violation());
    ///         Ok(())
    ///     })?;
    /// assert_eq!(reports.recv(), Ok("StillHasChildren"));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "log")]
    pub fn on_report(mut self, hook: impl Fn(&Diagnostic) + Send + Sync + 'static) -> Builder {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Sets whether a [`call`](crate::call) from another domain may spawn its task on domain 0, the
    /// thread that called `run`. Default: `false`, because that thread is `main`'s, which a program
    /// often keeps free.
    pub fn calls_to_domain_0(mut self, permitted: bool) -> Builder {
        self.calls_to_domain_0 = permitted;
        self
    }

    /// Sets a function that is called on the thread of each domain when it starts, with the number
    /// of the domain: for example to bind the thread to a core.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use matou_runtime::{Builder, MainError, RunError};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let running = Arc::new(AtomicUsize::new(0));
    /// let (start, stop) = (Arc::clone(&running), Arc::clone(&running));
    /// Builder::new()
    ///     .domains(3)
    ///     .on_start(move |_domain| { start.fetch_add(1, Ordering::Relaxed); })
    ///     .on_stop(move |_domain| { stop.fetch_sub(1, Ordering::Relaxed); })
    ///     .run(async move { Ok::<_, MainError>(()) })?;
    /// assert_eq!(running.load(Ordering::Relaxed), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "on_thread_start")]
    #[doc(alias = "core_affinity")]
    pub fn on_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Builder {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// Sets a function that is called on the thread of each domain when it stops, after its last
    /// task, with the number of the domain. A panic of the function is ignored.
    #[doc(alias = "on_thread_stop")]
    pub fn on_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Builder {
        self.on_stop = Some(Arc::new(hook));
        self
    }

    /// Sets the function that creates the driver of each domain. It is called on the thread of the
    /// domain, with the number of the domain. Default: [`Reactor::new`].
    pub fn driver<D: Driver>(
        mut self,
        make: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    ) -> Builder {
        self.make_driver = Arc::new(move |index| Ok(Box::new(make(index)?)));
        self
    }

    /// Runs `main` with these settings. See [`run`].
    ///
    /// # Errors
    ///
    /// As [`run`].
    #[track_caller]
    pub fn run<F, T, E>(self, main: F) -> Result<T, RunError<E>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        self.run_at(main, Location::caller())
    }

    /// Runs `main`, which the program has passed to the runtime at the line `at`.
    pub(crate) fn run_at<F, T, E>(
        self,
        main: F,
        at: &'static Location<'static>,
    ) -> Result<T, RunError<E>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        self.run_root(main, &TaskMeta::named(at, Arc::from("main")))
    }

    /// Runs `main` as the root task that `meta` describes.
    pub(super) fn run_root<F, T, E>(self, main: F, meta: &TaskMeta) -> Result<T, RunError<E>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        let mut main = Some(main);
        let result = panics::catch_payload(|| {
            let started = self.create_domains()?;
            started.run_main(meta, main.take().expect("the run starts once"))
        });
        // If the run could not start, a panic of this drop would hide the reason.
        // fault: main-drop-hides-error
        panics::ignore(|| drop(main));
        // So would the destructors of what the settings' closures have captured.
        panics::ignore(|| drop(self.make_driver));
        panics::ignore(|| drop(self.hook));
        panics::ignore(|| drop(self.on_start));
        panics::ignore(|| drop(self.on_stop));
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Creates the domains. A panic of the function that creates a driver reaches the caller.
    fn create_domains<E>(&self) -> Result<Started, RunError<E>> {
        if Domain::is_inside() {
            return Err(RunError::Nested);
        }
        panics::install_hook();
        let (domains, config) = self.config().map_err(RunError::Setup)?;
        let run = Run::new(domains, config);
        let driver = make_driver(&self.make_driver, 0).map_err(RunError::Setup)?;
        let workers = Workers::start(&run, &self.make_driver).map_err(RunError::Setup)?;
        Ok(Started { domain: Domain::new(Arc::clone(&run), 0, driver), workers, run })
    }

    /// Returns the number of domains and the other settings, if they are valid.
    pub(crate) fn config(&self) -> io::Result<(usize, Config)> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let domains = match self.domains {
            Some(domains) => domains,
            None => default_domains(thread::available_parallelism().map_or(1, usize::from)),
        };
        if !(1..=DOMAINS_MAX).contains(&domains) {
            return invalid(format!("a run has 1 to {DOMAINS_MAX} domains, not {domains}"));
        }
        if self.quantum == 0 {
            return invalid("the quantum must be at least one poll".to_owned());
        }
        if self.blocking_threads == 0 {
            return invalid("blocking jobs need at least one thread".to_owned());
        }
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Ok((
            domains,
            Config {
                seed,
                quantum: self.quantum,
                grace: self.grace,
                slow_poll: self.slow_poll,
                violations: self.violations,
                forgotten: self.forgotten,
                leaks: self.leaks,
                blocking_threads: self.blocking_threads,
                calls_to_domain_0: self.calls_to_domain_0,
                on_start: self.on_start.clone(),
                on_stop: self.on_stop.clone(),
                hook: self.hook.clone(),
                is_host: host::install(),
            },
        ))
    }
}

/// Returns how many domains a run has on a machine with so many cores. There are at least two, so
/// that a program with a `call` runs everywhere.
fn default_domains(cores: usize) -> usize {
    cores.clamp(2, DOMAINS_MAX)
}

/// A run whose domains exist.
struct Started {
    domain: Domain,
    workers: Workers,
    run: Arc<Run>,
}

impl Started {
    fn run_main<F, T, E>(self, meta: &TaskMeta, main: F) -> Result<T, RunError<E>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        let Started { domain, workers, run } = self;
        let handle = spawn_root(&domain, meta.clone(), main);
        if run_domain(domain).is_err() {
            // Nothing is dropped: the tasks and their resources belong to the parent process.
            mem::forget((handle, workers));
            return Err(RunError::Forked);
        }
        signal::end_run(&run);
        drop(workers);
        run.pool().close();
        // The root has completed, because the run is over: the handle has its outcome.
        result_of(&run, meta, Some(handle.take()))
    }
}

fn make_driver(make: &MakeDriver, domain: usize) -> io::Result<Box<dyn Driver>> {
    make(domain).map_err(setup_failed("create the driver", domain))
}

/// Adds the step that failed to an error, whose kind stays the same.
fn setup_failed(step: &'static str, domain: usize) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        io::Error::new(error.kind(), format!("failed to {step} of domain {domain}: {error}"))
    }
}

/// Runs a domain until the run is over. A panic in the scheduler itself, which no program should be
/// able to cause, would leave tasks that never complete, so it aborts the process.
///
/// # Errors
///
/// If this is a process that was forked inside the run. The domain leaks then.
fn run_domain(domain: Domain) -> Result<(), Forked> {
    struct Abort {
        /// The run was started by a destructor during a panic.
        in_panic: bool,
    }
    impl Drop for Abort {
        fn drop(&mut self) {
            if thread::panicking() && !self.in_panic {
                std::process::abort();
            }
        }
    }
    let abort = Abort { in_panic: thread::panicking() };
    domain.run_until_stopped();
    drop(abort);
    if domain.is_forked() {
        mem::forget(domain);
        return Err(Forked);
    }
    // A user's driver, or a foreign waker that was left in the domain, may panic when it is
    // dropped.
    // fault: domain-drop-unwinds
    panics::ignore(|| drop(domain));
    Ok(())
}

/// The process was forked inside the run.
struct Forked;

/// The threads of the domains other than domain 0. Dropping it stops and joins them.
struct Workers {
    run: Arc<Run>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads, and waits until each of them has a driver.
    fn start(run: &Arc<Run>, make_driver: &MakeDriver) -> io::Result<Workers> {
        let mut workers = Workers { run: Arc::clone(run), threads: Vec::new() };
        let (sender, started) = mpsc::channel();
        for index in 1..run.domains() {
            let (run, make_driver, sender) = (run.clone(), make_driver.clone(), sender.clone());
            let thread = thread::Builder::new().name(format!("matou-{index}"));
            let thread = thread.spawn(move || match self::make_driver(&make_driver, index) {
                Ok(driver) => {
                    let domain = Domain::new(run, index, driver);
                    let _ = sender.send(Ok(()));
                    drop(sender);
                    if run_domain(domain).is_err() {
                        // No other thread exists in the forked process.
                        std::process::abort();
                    }
                }
                Err(error) => drop(sender.send(Err(error))),
            });
            workers.threads.push(thread.map_err(setup_failed("start the thread", index))?);
        }
        drop(sender);
        let started = started.iter().collect::<io::Result<Vec<()>>>()?;
        if started.len() < workers.threads.len() {
            drop(workers);
            unreachable!(
                "a driver's creation panicked, and the join of its thread propagates the panic"
            );
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The completion of the root has stopped them already, unless the run could not start.
        self.run.stop();
        // Outside tasks, `make_driver` is the only user code on those threads. Join all of them
        // before its panic is propagated.
        let results: Vec<_> = self.threads.drain(..).map(thread::JoinHandle::join).collect();
        if let Some(payload) = results.into_iter().find_map(Result::err)
            && !thread::panicking()
        {
            std::panic::resume_unwind(payload);
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("domains", &self.domains)
            .field("seed", &self.seed)
            .field("quantum", &self.quantum)
            .field("grace", &self.grace)
            .field("violations", &self.violations)
            .field("forgotten", &self.forgotten)
            .field("leaks", &self.leaks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_one_core_has_a_domain_to_call() {
        assert_eq!([1, 2, 8, 5_000].map(default_domains), [2, 2, 8, DOMAINS_MAX]);
    }
}
