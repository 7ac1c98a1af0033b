//! Tasks for hyper.

use std::future::Future;

use hyper::rt::Executor;
use matou_runtime::{SendSpawner, Spawner};

/// The executor of a server or client of hyper: it puts each future into an
/// [`Orphans`](matou_runtime::Orphans) group, as a child of the task that owns the group.
///
/// hyper calls its executor also from tasks that end soon, in destructors and under locks. So the
/// owner of the group must be a task that lives as long as the connection: for a server, the task
/// of the connection; for a client, the task that created it. If the owner is ending, the future is
/// dropped. [`serve`](crate::serve) does all of this.
///
/// # Examples
///
/// ```
/// use hyper::server::conn::http2;
/// use matou_http::{LocalExecutor, Timer};
/// use matou_http::runtime::{Orphans, RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let streams = Orphans::new().discarding();
///     let mut builder = http2::Builder::new(LocalExecutor::new(streams.spawner()));
///     builder.timer(Timer);
///     // .. serve a connection, drop its future, and then wait for the children:
///     streams.next().await;
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "TokioExecutor")]
#[derive(Clone, Debug)]
pub struct LocalExecutor {
    spawner: Spawner<()>,
}

impl LocalExecutor {
    /// Creates an executor of the group that `spawner` belongs to.
    pub fn new(spawner: Spawner<()>) -> LocalExecutor {
        LocalExecutor { spawner }
    }
}

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    #[track_caller]
    fn execute(&self, future: F) {
        let task = async move { drop(future.await) };
        // Refused if the owner is ending: then the future is dropped here, as all its siblings are.
        drop(self.spawner.spawn(task));
    }
}

/// A [`LocalExecutor`] for libraries that require executors and futures to be `Send`, such as the
/// pooled client of hyper-util.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor;
/// use matou_http::SendExecutor;
/// use matou_http::runtime::{Orphans, RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let group = Orphans::new().discarding();
///     SendExecutor::new(group.send_spawner()).execute(async {});
///     group.next().await;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SendExecutor {
    spawner: SendSpawner<()>,
}

impl SendExecutor {
    /// Creates an executor of the group that `spawner` belongs to.
    pub fn new(spawner: SendSpawner<()>) -> SendExecutor {
        SendExecutor { spawner }
    }
}

impl<F: Future + Send + 'static> Executor<F> for SendExecutor {
    #[track_caller]
    fn execute(&self, future: F) {
        let task = async move { drop(future.await) };
        drop(self.spawner.spawn(task));
    }
}
