use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use matou_runtime::{Promise, Task, cancelled};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::enter::Enter;
use crate::error::CallError;

/// Access to the runtime of tokio, for tasks on all domains; made by
/// [`Tokio::handle`](crate::Tokio::handle). It does not keep the runtime alive.
#[derive(Clone)]
pub struct TokioHandle {
    handle: Handle,
}

impl TokioHandle {
    pub(crate) fn new(handle: Handle) -> TokioHandle {
        TokioHandle { handle }
    }

    /// Runs a future in the current task, with the runtime of tokio as its context: sockets, timers
    /// and tasks that it creates belong to that runtime. Its own code runs on the current domain.
    ///
    /// The future is created before it is entered. If creating it needs the context as well, as a
    /// timer of tokio does, use an `async` block.
    ///
    /// # Panics
    ///
    /// The library panics if it needs the runtime after its shutdown.
    ///
    /// # Cancel safety
    ///
    /// That of the future. Tasks that it has spawned on tokio's runtime go on, as in tokio.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use matou_runtime::{RunError, run};
    /// use matou_tokio::Tokio;
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let tokio = Tokio::start()?;
    ///     let nap = async { tokio::time::sleep(Duration::from_millis(1)).await };
    ///     tokio.handle().enter(nap).await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "Compat")]
    #[doc(alias = "async_compat")]
    pub fn enter<F: Future>(&self, future: F) -> Enter<F> {
        Enter::new(future, self.handle.clone())
    }

    /// Runs a future on tokio's thread, as a child of the current task.
    ///
    /// If the child is cancelled, the task of tokio is aborted, and the child ends after it.
    ///
    /// # Errors
    ///
    /// The promise yields the output of the future, or a [`CallError`] if it panicked or the
    /// runtime was shut down.
    ///
    /// # Panics
    ///
    /// As [`spawn`](matou_runtime::spawn).
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
    ///     let name = || std::thread::current().name().map(String::from);
    ///     let name = tokio.handle().spawn(async move { name() });
    ///     assert_eq!(name.await?.as_deref(), Some("matou-tokio"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Promise<F::Output, CallError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = self.handle.clone();
        Task::new().name("tokio call").try_spawn(async move {
            // A cancelled task is not polled, but its end waits for a shield. The error is a value
            // of the shield: after an abort no task wants it, and that is no failure.
            let join = async move { join(handle.spawn(future)).await };
            let joined = Task::new().name("tokio task").shield(join).await;
            // The shield itself fails only if it was cut off after the grace period.
            joined.unwrap_or(Err(CallError::ShutDown))
        })
    }
}

/// Waits for a task of tokio. If the current task is asked to end, it is aborted first.
async fn join<T>(mut task: JoinHandle<T>) -> Result<T, CallError> {
    let mut cancelled = pin!(cancelled());
    let mut is_aborted = false;
    poll_fn(|cx| {
        if !is_aborted && cancelled.as_mut().poll(cx).is_ready() {
            // fault: cancelled-call-goes-on
            task.abort();
            is_aborted = true;
        }
        match Pin::new(&mut task).poll(cx) {
            Poll::Ready(output) => Poll::Ready(output.map_err(CallError::from)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl fmt::Debug for TokioHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioHandle").finish_non_exhaustive()
    }
}
