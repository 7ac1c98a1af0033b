//! Spawning into a group.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Task;
use crate::join::{Orphans, Promise};
use crate::panics::polled_after_completion;
use crate::task::TaskId;
use crate::waker_set::WakerKey;

/// A [`Task`] that is spawned into a group; see [`Task::orphans`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it spawns a task"]
pub struct TaskInto<'a, T, E> {
    pub(super) task: Task,
    pub(super) orphans: &'a Orphans<T, E>,
}

/// The error of spawning into a group that is at its limit. No task was spawned, and the future was
/// dropped.
///
/// Only a group created by [`Orphans::with_limit`] has a limit. Take the outcome of a child
/// ([`next`](Orphans::next), [`care`](Orphans::care)) and try again, or use
/// [`spawn_when_free`](Orphans::spawn_when_free), which waits. [`Orphans::is_full`] says before
/// whether there is room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCapacity;

impl fmt::Display for AtCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the group is at capacity: take the outcome of a child before spawning another one",
        )
    }
}

impl std::error::Error for AtCapacity {}

impl<'a, T: 'static, E: 'static> TaskInto<'a, T, E> {
    /// Spawns a child that may fail on this domain into the group.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the group contains as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn try_spawn<F>(self, future: F) -> Result<TaskId, AtCapacity>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.check_capacity()?;
        Ok(self.orphans.insert(self.task.try_spawn(future)))
    }

    /// Spawns a child that may fail as a shield into the group; see [`shield`](TaskInto::shield).
    ///
    /// # Errors
    ///
    /// As [`try_spawn`](TaskInto::try_spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn try_shield<F>(self, future: F) -> Result<TaskId, AtCapacity>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.check_capacity()?;
        let promise = self.task.try_spawn(future);
        super::shield::make_shield(&promise);
        Ok(self.orphans.insert(promise))
    }

    /// Waits until the group has room, and spawns a child that may fail into it; see
    /// [`Orphans::spawn_when_free`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn), when the future is polled.
    #[track_caller]
    pub fn try_spawn_when_free<F>(self, future: F) -> SpawnWhenFree<'a, F, T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        SpawnWhenFree::new(self, future, |task, future| task.try_spawn(future))
    }

    pub(super) fn check_capacity(&self) -> Result<(), AtCapacity> {
        if self.orphans.is_full() { Err(AtCapacity) } else { Ok(()) }
    }
}

impl<'a, T: 'static> TaskInto<'a, T, Infallible> {
    /// Spawns a child on this domain into the group.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the group contains as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Result<TaskId, AtCapacity>
    where
        F: Future<Output = T> + 'static,
    {
        self.check_capacity()?;
        Ok(self.orphans.insert(self.task.spawn(future)))
    }

    /// Spawns a child as a [shield](crate::shield) into the group.
    ///
    /// The child is not cancelled with its parent, nor when the group is dropped: it receives a
    /// cancel request, which it can observe with [`cancelled`](crate::cancelled), and is cancelled
    /// when the grace period of the run has elapsed.
    ///
    /// # Errors
    ///
    /// As [`spawn`](TaskInto::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{Orphans, RunError, Task, run, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let writes = Orphans::new();
    ///     Task::new().orphans(&writes).shield(async { yield_now().await; "written" })?;
    ///     yield_now().await;
    ///     writes.cancel_all();
    ///     assert_eq!(writes.next().await.unwrap()?, "written");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn shield<F>(self, future: F) -> Result<TaskId, AtCapacity>
    where
        F: Future<Output = T> + 'static,
    {
        self.check_capacity()?;
        let promise = self.task.spawn(future);
        super::shield::make_shield(&promise);
        Ok(self.orphans.insert(promise))
    }

    /// Waits until the group has room, and spawns a child into it; see
    /// [`Orphans::spawn_when_free`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn), when the future is polled.
    #[track_caller]
    pub fn spawn_when_free<F>(self, future: F) -> SpawnWhenFree<'a, F, T, Infallible>
    where
        F: Future<Output = T> + 'static,
    {
        SpawnWhenFree::new(self, future, |task, future| task.spawn(future))
    }
}

impl<T: 'static, E: 'static> Orphans<T, E> {
    /// Spawns a child that may fail into the group; see [`spawn`](Orphans::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Orphans::spawn).
    #[track_caller]
    pub fn try_spawn<F>(&self, future: F) -> TaskId
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.assert_capacity();
        self.insert(Task::new().try_spawn(future))
    }

    #[track_caller]
    pub(super) fn assert_capacity(&self) {
        assert!(!self.is_full(), "{AtCapacity}; `spawn_when_free` waits");
    }
}

impl<T: 'static> Orphans<T> {
    /// Spawns a child of the current task into the group. Short for [`Task::orphans`], for groups
    /// without a limit.
    ///
    /// # Panics
    ///
    /// If the group has a limit and is full. Use [`spawn_when_free`](Orphans::spawn_when_free) for
    /// such groups, or [`Task::orphans`], which returns an error. Also as [`spawn`](crate::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{Orphans, RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let group = Orphans::new();
    ///     group.spawn(async { 7 });
    ///     assert_eq!(group.next().await.expect("a child")?, 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> TaskId
    where
        F: Future<Output = T> + 'static,
    {
        self.assert_capacity();
        self.insert(Task::new().spawn(future))
    }

    /// Waits until the group contains fewer children than its limit, and spawns the child then.
    ///
    /// A complete child leaves the group when its outcome is taken; in a group that is
    /// [discarding](Orphans::discarding) it leaves at once. Only the owner takes outcomes, so the
    /// owner of a group that does not discard must do that in the meantime, for example in another
    /// branch of [`select!`](crate::select!).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready drops `future`, and nothing was spawned.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn), when the future is polled, and when it is polled after it
    /// completed.
    #[doc(alias = "acquire")]
    #[doc(alias = "buffer_unordered")]
    #[track_caller]
    pub fn spawn_when_free<F>(&self, future: F) -> SpawnWhenFree<'_, F, T>
    where
        F: Future<Output = T> + 'static,
    {
        Task::new().orphans(self).spawn_when_free(future)
    }
}

/// The future of [`Orphans::spawn_when_free`]: the id of the child.
#[must_use = "futures do nothing unless polled"]
pub struct SpawnWhenFree<'a, F, T, E = Infallible> {
    orphans: &'a Orphans<T, E>,
    /// `None` once the child is spawned.
    task: Option<(Task, F)>,
    spawn: fn(Task, F) -> Promise<T, E>,
    key: WakerKey,
    at: &'static Location<'static>,
}

impl<'a, F, T, E> SpawnWhenFree<'a, F, T, E> {
    #[track_caller]
    fn new(into: TaskInto<'a, T, E>, future: F, spawn: fn(Task, F) -> Promise<T, E>) -> Self {
        let TaskInto { task, orphans } = into;
        let (key, at) = (WakerKey::new(), Location::caller());
        SpawnWhenFree { orphans, task: Some((task, future)), spawn, key, at }
    }
}

// The future is moved into the child, never polled here.
impl<F, T, E> Unpin for SpawnWhenFree<'_, F, T, E> {}

impl<F, T, E> Future for SpawnWhenFree<'_, F, T, E> {
    type Output = TaskId;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TaskId> {
        let this = self.get_mut();
        if this.task.is_none() {
            polled_after_completion("`SpawnWhenFree`", this.at);
        }
        // fault: full-group-accepts
        ready!(this.orphans.poll_vacancy(&mut this.key, this.at, cx));
        let (task, future) = this.task.take().expect("the child is not spawned yet");
        Poll::Ready(this.orphans.insert((this.spawn)(task, future)))
    }
}

impl<F, T, E> Drop for SpawnWhenFree<'_, F, T, E> {
    fn drop(&mut self) {
        self.orphans.cancel_vacancy_wait(&mut self.key);
    }
}

impl<F, T, E> fmt::Debug for SpawnWhenFree<'_, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnWhenFree").field("group", self.orphans).finish_non_exhaustive()
    }
}
