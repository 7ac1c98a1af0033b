//! Children that serve their siblings.

use std::future::Future;

use super::Task;
use crate::domain::Domain;
use crate::task::TaskId;

/// Spawns a child that serves its siblings and need not be joined: a logger, a heartbeat, a cache
/// that expires.
///
/// A daemon is cancelled when its parent has returned, failed or was cancelled, *and* all other
/// children of the parent have ended. So the siblings can use it to their end, and the parent
/// returns without a word about it. The parent's end waits for that of the daemon. The output is
/// dropped; a panic is the finding [`FailureUnseen`](crate::Finding::FailureUnseen).
///
/// Eio calls this `fork_daemon`. A daemon of `main` runs as long as the program has anything else
/// to do.
///
/// # Panics
///
/// As [`spawn`](crate::spawn).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{RunError, daemon, run, sleep};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     daemon(async {
///         loop {
///             sleep(Duration::from_secs(10)).await;
///             println!("still alive");
///         }
///     });
///     Ok(()) // cancels the daemon
/// })
/// # }
/// ```
#[doc(alias = "fork_daemon")]
#[doc(alias = "background")]
#[doc(alias = "detach")]
#[track_caller]
pub fn daemon<F: Future + 'static>(future: F) -> TaskId {
    Task::new().daemon(future)
}

impl Task {
    /// Spawns the child as a daemon on this domain. See [`daemon`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn daemon<F: Future + 'static>(self, future: F) -> TaskId {
        let child = self.spawn(future).drop_outcome().entry;
        // fault: daemon-is-a-leak
        Domain::with("`daemon`", |domain| domain.make_daemon(child));
        child.id
    }
}
