//! The runtime of tokio, and its thread.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::test::simulation;
use matou_runtime::{grace, timeout};
use matou_sync::{Completer, Computation};
use tokio::runtime::{Builder, Runtime};

use crate::handle::TokioHandle;

/// A runtime of tokio on a thread of its own, a resource of the task that has started it.
///
/// It is shut down by [`shutdown`](Tokio::shutdown), and at the end of its task. It dereferences to
/// its [`TokioHandle`].
pub struct Tokio {
    handle: TokioHandle,
    thread: Owned<Thread>,
}

/// The end of a runtime of tokio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// How many tasks of tokio were dropped because they had not ended by themselves.
    pub dropped_tasks: usize,
    /// Whether all of them were gone, and all blocking calls had ended, within the grace period.
    /// The rest was left behind on its threads.
    pub in_time: bool,
}

/// How to end the thread.
struct Thread {
    stop: Completer<Duration>,
    ended: Arc<Computation<Shutdown>>,
}

impl Tokio {
    /// Starts a runtime of tokio with all drivers that the program has compiled (its features
    /// `time` and `net`). The current task owns it.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a simulated run: nothing there may depend
    ///   on another thread.
    /// - If the system cannot start a thread, or has no descriptor left.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, run};
    /// use matou_tokio::Tokio;
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let tokio = Tokio::start()?;
    ///     let _unused = tokio.enter(async { tokio::spawn(std::future::pending::<()>()) }).await;
    ///     let end = tokio.shutdown().await;
    ///     assert_eq!((end.dropped_tasks, end.in_time), (1, true));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn start() -> io::Result<Tokio> {
        if simulation().is_some() {
            let text = "tokio's runtime cannot run in a simulated run: it has a thread and a clock";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let runtime =
            Builder::new_current_thread().enable_all().thread_name("matou-tokio").build()?;
        let handle = TokioHandle::new(runtime.handle().clone());
        let (stop, stopped) = Computation::create();
        let (end, ended) = Computation::create();
        let name = thread::Builder::new().name("matou-tokio".into());
        name.spawn(move || {
            // Always the first value.
            let _ = end.try_return(run(runtime, stopped));
        })?;
        let thread = Owned::with_async(Thread { stop, ended: Arc::new(ended) }, end_thread);
        Ok(Tokio { handle, thread })
    }

    /// Returns a handle for other tasks.
    pub fn handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    /// Drops the tasks of tokio, and ends its thread. Waits for both, at most for the
    /// [grace period](matou_runtime::Builder::grace). Calls that are in progress fail with
    /// [`ShutDown`](crate::CallError::ShutDown).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the runtime to the end of its task.
    ///
    /// # Panics
    ///
    /// If the current task is not the owner.
    pub async fn shutdown(self) -> Shutdown {
        let ended = {
            let thread = self.thread.get().expect("the current task owns the runtime");
            // Always the first value, since this consumes the only handle.
            let _ = thread.stop.try_return(grace());
            Arc::clone(&thread.ended)
        };
        // A task of tokio that blocks its thread keeps it from looking.
        match timeout(grace(), ended.wait()).await {
            Ok(Ok(end)) => *end,
            _ => Shutdown { dropped_tasks: 0, in_time: false },
        }
    }
}

/// The body of the thread: runs the tasks of tokio until the runtime is to end.
fn run(runtime: Runtime, stopped: Computation<Duration>) -> Shutdown {
    let limit = runtime.block_on(stopped).unwrap_or_default();
    let metrics = runtime.metrics();
    let dropped_tasks = metrics.num_alive_tasks();
    let begun = std::time::Instant::now();
    // Half of the time, so that a finalizer that waits for this thread can still say so.
    let limit = limit / 2;
    runtime.shutdown_timeout(limit);
    Shutdown { dropped_tasks, in_time: begun.elapsed() < limit }
}

/// The finalizer.
async fn end_thread(thread: Thread) {
    // Not the first value after `shutdown`.
    let _ = thread.stop.try_return(grace());
    if let Ok(Shutdown { in_time: false, .. }) = thread.ended.wait().await {
        // Standard error may be closed.
        let line = "matou-tokio: blocking calls of tokio did not end in time and were left behind";
        drop(io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes()));
    }
}

impl Deref for Tokio {
    type Target = TokioHandle;

    fn deref(&self) -> &TokioHandle {
        &self.handle
    }
}

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio").finish_non_exhaustive()
    }
}
