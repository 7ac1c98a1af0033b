use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::panic::Location;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::error::verdict;
use super::{Config, Forgotten, Run, RunError};
use crate::domain::Domain;
use crate::driver::{Driver, Reactor};
use crate::panics;
use crate::spawn::spawn_root;
use crate::task::TaskMeta;

/// How many domains a run may have: their numbers fit into the ids of tasks.
const DOMAINS_MAX: usize = 1024;

type MakeDriver = Arc<dyn Fn(usize) -> io::Result<Box<dyn Driver>> + Send + Sync>;

/// Runs `main`, and everything that descends from it, to the end.
///
/// The calling thread becomes domain 0; there is one further domain for each further core. The
/// call returns when `main` and all its descendants are over, their resources settled and the
/// other threads gone, whatever the reason of the end.
///
/// # Errors
///
/// [`RunError`], which says whether `main` failed or panicked, a rule was broken, or the run could
/// not begin.
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
#[derive(Clone)]
#[must_use = "settings do nothing until `run`"]
pub struct Builder {
    domains: Option<usize>,
    seed: Option<u64>,
    quantum: usize,
    grace: Duration,
    forgotten: Forgotten,
    make_driver: MakeDriver,
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

impl Builder {
    /// Begins with the defaults.
    pub fn new() -> Builder {
        Builder {
            domains: None,
            seed: None,
            quantum: 64,
            grace: Duration::from_secs(5),
            forgotten: Forgotten::default(),
            make_driver: Arc::new(|_| Ok(Box::new(Reactor::new()?))),
        }
    }

    /// Sets how many domains there are in all, domain 0 included. Default: one for each core.
    /// Between 1 and 1,024.
    pub fn domains(mut self, domains: usize) -> Builder {
        self.domains = Some(domains);
        self
    }

    /// Sets the seed from which every choice of the run is drawn, split per domain. Default: a
    /// different one each time.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// Sets after how many polls of tasks a domain looks at system events. Default: 64, at least 1.
    ///
    /// One task that had yielded may be polled beyond that, if none was among them. Where polls are
    /// found to be slow a domain looks sooner: after 0.1 ms of those who yield, 0.4 ms of others.
    pub fn quantum(mut self, polls: usize) -> Builder {
        self.quantum = polls;
        self
    }

    /// Sets how long the asynchronous finalizers of one task may take, and how long a
    /// [`shield`](crate::shield) may go on when its end was asked for, unless it has a
    /// [`limit`](crate::futures::Shield::limit) of its own. Default: 5 seconds.
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// Sets what a dropped promise means. Default: a violation.
    pub fn forgotten(mut self, forgotten: Forgotten) -> Builder {
        self.forgotten = forgotten;
        self
    }

    /// Sets how the driver of each domain is made; called on the domain's thread with its number.
    /// Default: [`Reactor::new`].
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
        let about = TaskMeta::named(Location::caller(), Arc::from("main"));
        if Domain::is_inside() {
            return Err(RunError::Nested);
        }
        panics::install_hook();
        let run = self.new_run().map_err(RunError::Setup)?;
        let driver = (self.make_driver)(0).map_err(RunError::Setup)?;
        let workers = Workers::start(&run, &self.make_driver).map_err(RunError::Setup)?;
        let domain = Domain::new(Arc::clone(&run), 0, driver);
        let handle = spawn_root(&domain, about, main);
        turn_to_end(domain);
        run.signals.close();
        drop(workers);
        // A run ends with its root.
        let outcome = handle.take();
        match run.take_error() {
            Some(error) => Err(error),
            None => verdict(outcome),
        }
    }

    fn new_run(&self) -> io::Result<Arc<Run>> {
        let (domains, config) = self.config()?;
        Ok(Run::new(domains, config))
    }

    /// Returns the number of domains and the other settings, if they make sense.
    pub(crate) fn config(&self) -> io::Result<(usize, Config)> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let domains = match self.domains {
            Some(domains) => domains,
            None => thread::available_parallelism().map_or(1, |cores| cores.get().min(DOMAINS_MAX)),
        };
        if !(1..=DOMAINS_MAX).contains(&domains) {
            return invalid(format!("a run has 1 to {DOMAINS_MAX} domains, not {domains}"));
        }
        if self.quantum == 0 {
            return invalid("the quantum must be at least one poll".to_owned());
        }
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let Builder { quantum, grace, forgotten, .. } = *self;
        Ok((domains, Config { seed, quantum, grace, forgotten }))
    }
}

/// Turns a domain until the run is over. A panic of the scheduler itself, which no program can
/// cause, leaves tasks that nobody will ever end: it must not pass for an orderly shutdown.
fn turn_to_end(domain: Domain) {
    struct Abort {
        /// Whether the run itself belongs to a panic: it was begun in a drop of somebody's cleanup.
        in_panic: bool,
    }
    impl Drop for Abort {
        fn drop(&mut self) {
            if thread::panicking() && !self.in_panic {
                std::process::abort();
            }
        }
    }
    let _abort = Abort { in_panic: thread::panicking() };
    domain.run_until_stopped();
}

/// The threads of the domains beside domain 0. Dropping it ends them and waits for their end.
struct Workers {
    run: Arc<Run>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads and waits until each has its driver.
    fn start(run: &Arc<Run>, make_driver: &MakeDriver) -> io::Result<Workers> {
        let mut workers = Workers { run: Arc::clone(run), threads: Vec::new() };
        let (sender, started) = mpsc::channel();
        for index in 1..run.domains() {
            let (run, make_driver, sender) = (run.clone(), make_driver.clone(), sender.clone());
            let thread = thread::Builder::new().name(format!("matou-{index}"));
            workers.threads.push(thread.spawn(move || match make_driver(index) {
                Ok(driver) => {
                    let domain = Domain::new(run, index, driver);
                    let _ = sender.send(Ok(()));
                    drop(sender);
                    turn_to_end(domain);
                }
                Err(error) => drop(sender.send(Err(error))),
            })?);
        }
        drop(sender);
        let started = started.iter().collect::<io::Result<Vec<()>>>()?;
        if started.len() < workers.threads.len() {
            drop(workers);
            unreachable!("making a driver panicked, and joining its thread said so");
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // When the root ended they were told already; once more does no harm, and it is the only
        // word they get when the run could not begin.
        self.run.stop();
        // Only `make_driver` is user code on those threads outside a task. All of them are joined
        // before a panic of it goes on here.
        let ends: Vec<_> = self.threads.drain(..).map(thread::JoinHandle::join).collect();
        if let Some(payload) = ends.into_iter().find_map(Result::err)
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
            .field("forgotten", &self.forgotten)
            .finish_non_exhaustive()
    }
}
