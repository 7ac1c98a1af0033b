//! Runs that are started, used and shut down from outside.

use std::fmt;
use std::future::{Future, pending};
use std::panic::{self, Location};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::builder::Builder;
use super::error::{MainError, RunError};
use crate::domain::{Domain, Message, Run};
use crate::join::{JoinHandle, Orphans, assert_may_block};
use crate::outcome::Outcome;
use crate::panics;
use crate::spawn::SendSpawner;
use crate::task::{CancelKind, CancelReason, Cancelled, TaskMeta};

/// The least time after which a domain that handles no message counts as stuck.
const LEAST_LIMIT: Duration = Duration::from_millis(250);

/// A run for programs whose `main` belongs to something else: another framework, a test, a callback
/// of a library in another language.
///
/// [`Runtime::new`] starts all domains, each on a thread of its own. [`spawn`](Runtime::spawn) and
/// [`block_on`](Runtime::block_on) may then be called from any thread; a
/// [`handle`](Runtime::handle) does the same and can be cloned. The tasks are children of the
/// runtime's root task, on domain 0, and can do whatever a task can: `spawn` and `call` children,
/// own sockets, handle signals. The rules hold as in [`run`](crate::run()).
///
/// [`shutdown`](Runtime::shutdown) cancels all tasks, waits for their ends, and returns the error
/// of the run, if there is one. Dropping the runtime does the same, but ignores the error.
///
/// # Inside a run
///
/// A task must not block its domain, so a runtime can neither be started nor awaited inside a task
/// of a run: [`block_on`](Runtime::block_on) panics, `new` and `shutdown` return
/// [`RunError::Nested`], and a runtime that is dropped there is shut down without waiting. A
/// [simulated](crate::test) run cannot use a runtime.
///
/// # Examples
///
/// In a test of any framework, or beside the executor of another library:
///
/// ```
/// use matou_runtime::{RunError, Runtime, call, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// let runtime = Runtime::new()?;
/// // This thread blocks ..
/// let sum = runtime.block_on(async { spawn(async { 40 }).await.unwrap() + 2 });
/// assert_eq!(sum.unwrap(), 42);
/// // .. and another one does not: its own executor awaits the handle.
/// let handle = runtime.handle().clone();
/// let other = std::thread::spawn(move || {
///     let elsewhere = handle.spawn(async { call(|| async { 7 }).unwrap().await.unwrap() });
///     futures::executor::block_on(elsewhere).unwrap()
/// });
/// assert_eq!(other.join().unwrap(), 7);
/// runtime.shutdown()
/// # }
/// ```
#[must_use = "dropping the runtime shuts it down"]
pub struct Runtime {
    handle: RuntimeHandle,
    run: Arc<Run>,
    /// `None` once the runtime was shut down.
    thread: Option<thread::JoinHandle<Result<(), RunError>>>,
    /// Disconnected when the run has ended.
    ended: Mutex<mpsc::Receiver<()>>,
    started_at: &'static Location<'static>,
}

/// A handle to a [`Runtime`], which spawns tasks from any thread. It can be cloned, and does not
/// keep the runtime from being shut down.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, Runtime};
///
/// # fn main() -> Result<(), RunError> {
/// let runtime = Runtime::new()?;
/// let handle = runtime.handle().clone();
/// assert_eq!(handle.block_on(async { 7 }).unwrap(), 7);
/// runtime.shutdown()?;
/// let refused = handle.spawn(async { 7 }).join().unwrap_err();
/// assert!(refused.to_string().contains("its runtime was shut down"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RuntimeHandle {
    spawner: SendSpawner<()>,
}

impl Builder {
    /// Starts a run for a program whose `main` belongs to something else. See [`Runtime`].
    ///
    /// # Errors
    ///
    /// [`RunError::Setup`] if a setting is invalid, or the system has no descriptor or no thread
    /// for a domain, and [`RunError::Nested`] inside a task of a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{Builder, RunError};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let runtime = Builder::new().domains(2).start()?;
    /// assert_eq!(runtime.block_on(async { 7 }).unwrap(), 7);
    /// runtime.shutdown()
    /// # }
    /// ```
    #[track_caller]
    pub fn start(self) -> Result<Runtime, RunError> {
        Runtime::start(self, Location::caller())
    }
}

impl Runtime {
    /// Starts a run with the default settings. [`Builder::start`] is the form with settings.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    #[track_caller]
    pub fn new() -> Result<Runtime, RunError> {
        Builder::new().start()
    }

    fn start(builder: Builder, at: &'static Location<'static>) -> Result<Runtime, RunError> {
        if Domain::is_inside() {
            return Err(RunError::Nested);
        }
        let (sender, started) = mpsc::channel();
        let (running, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("matou-0".to_owned()).spawn(move || {
            // Dropped at the end of the run.
            let _running: mpsc::Sender<()> = running;
            builder.run_root(root(sender), &TaskMeta::named(at, Arc::from("runtime")))
        });
        let thread = thread.map_err(RunError::Setup)?;
        match started.recv() {
            Ok((spawner, run)) => {
                let handle = RuntimeHandle { spawner };
                Ok(Runtime {
                    handle,
                    run,
                    thread: Some(thread),
                    ended: Mutex::new(ended),
                    started_at: at,
                })
            }
            // The run has not started.
            Err(mpsc::RecvError) => match join(thread) {
                Err(error) => Err(error),
                Ok(()) => unreachable!("the root of a runtime does not return"),
            },
        }
    }

    /// Returns a handle that can be cloned and sent to other threads.
    pub fn handle(&self) -> &RuntimeHandle {
        &self.handle
    }

    /// Spawns a task. See [`RuntimeHandle::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Spawns a task that may fail. See [`RuntimeHandle::try_spawn`].
    #[track_caller]
    pub fn try_spawn<F, T, E>(&self, future: F) -> JoinHandle<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.handle.try_spawn(future)
    }

    /// Spawns a task and blocks the thread until it has ended. See [`RuntimeHandle::block_on`].
    #[track_caller]
    pub fn block_on<F>(&self, future: F) -> Outcome<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.block_on(future)
    }

    /// Cancels all tasks, waits until they have ended and their resources are finalized, and stops
    /// the domains. The handles of the tasks receive their outcomes.
    ///
    /// Everything that the end of a task waits for is limited by [`Builder::grace`], except a poll
    /// that does not return. So if a domain handles no messages for that long (at least for 250
    /// milliseconds), this does not wait for it any more: its thread is left behind, and the
    /// handles of the tasks that have not ended receive no outcome until the poll returns.
    ///
    /// # Errors
    ///
    /// The error of the run: a violation that failed it ([`RunError::Violated`]), a signal handler
    /// that panicked, or a driver that failed. [`RunError::Stuck`] if a domain handles no messages.
    /// [`RunError::Nested`] inside a task of a run, where this requests the end but does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{RunError, Runtime};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let runtime = Runtime::new()?;
    /// let endless = runtime.spawn(pending::<()>());
    /// runtime.shutdown()?;
    /// assert!(endless.join().unwrap_err().is_cancelled());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "shutdown_timeout")]
    #[track_caller]
    pub fn shutdown(mut self) -> Result<(), RunError> {
        self.end(Location::caller())
    }

    fn end(&mut self, at: &'static Location<'static>) -> Result<(), RunError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let reason = CancelReason { location: Some(at), ..CancelReason::new(CancelKind::ShutDown) };
        // fault: shutdown-cancels-nothing
        self.run.remote(0).send(Message::CancelRoot(Cancelled::new(reason)));
        if Domain::is_inside() {
            return Err(RunError::Nested);
        }
        self.wait_for_end()?;
        match join(thread) {
            // Failures and violations of the run are other errors.
            // fault: shutdown-is-an-error
            Err(RunError::Cancelled(_)) => Ok(()),
            result => result,
        }
    }

    /// Waits for the end of the run, as long as all domains handle messages.
    fn wait_for_end(&mut self) -> Result<(), RunError> {
        let limit = self.run.config.grace.max(LEAST_LIMIT);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (sender, answers) = mpsc::channel();
            for domain in 0..self.run.domains() {
                self.run.remote(domain).send(Message::Probe(sender.clone()));
            }
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
            let answered: Vec<usize> = answers.try_iter().collect();
            // fault: stuck-domain-awaited
            if let Some(domain) = (0..self.run.domains()).find(|index| !answered.contains(index)) {
                return Err(RunError::Stuck { domain, waited: limit });
            }
        }
    }
}

/// The root of a runtime, which runs until it is cancelled. Its children are the tasks that are
/// spawned from outside; their outcomes go to their handles.
async fn root(started: mpsc::Sender<(SendSpawner<()>, Arc<Run>)>) -> Result<(), MainError> {
    let tasks = Orphans::new().discarding();
    let run = Domain::with("a runtime", |domain| Arc::clone(&domain.run));
    // The thread that starts the runtime waits for this.
    let _ = started.send((tasks.send_spawner(), run));
    pending().await
}

/// Joins the thread of domain 0. A panic there is one of the function that creates a driver.
fn join(thread: thread::JoinHandle<Result<(), RunError>>) -> Result<(), RunError> {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

impl RuntimeHandle {
    /// Spawns a task as a child of the runtime's root task, on domain 0. This neither polls nor
    /// blocks.
    ///
    /// The future moves to another thread, so it must be `Send`. Futures that are not are created
    /// inside it: `spawn(async { spawn(local()).await })`. To use other domains, `call` inside the
    /// task.
    ///
    /// After the runtime was shut down the future is dropped, and the outcome is
    /// [`TaskError::Cancelled`](crate::TaskError::Cancelled), which says so.
    ///
    /// # Panics
    ///
    /// In a [simulated](crate::test) run.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawner.spawn_outside(future)
    }

    /// Spawns a task that may fail: an `Err` is [`TaskError::Failed`](crate::TaskError::Failed).
    /// See [`spawn`](RuntimeHandle::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](RuntimeHandle::spawn).
    #[track_caller]
    pub fn try_spawn<F, T, E>(&self, future: F) -> JoinHandle<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.spawner.try_spawn_outside(future)
    }

    /// Spawns a task and blocks the thread until the task and its descendants have ended. It may be
    /// called on several threads at the same time.
    ///
    /// # Panics
    ///
    /// Inside a task of a run, and as [`spawn`](RuntimeHandle::spawn).
    #[track_caller]
    pub fn block_on<F>(&self, future: F) -> Outcome<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        assert_may_block("`block_on`");
        self.spawn(future).join()
    }
}

impl Drop for Runtime {
    /// Shuts the runtime down, without reporting an error.
    fn drop(&mut self) {
        let at = self.started_at;
        panics::ignore(|| drop(self.end(at)));
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("domains", &self.run.domains()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHandle").finish_non_exhaustive()
    }
}
