//! Blocking jobs as children of groups.

use std::convert::Infallible;

use super::blocking::JobTask;
use super::spawner::{Spawner, SubmitError};
use super::task_future::{MayFail, NeverFails};
use super::{AtCapacity, Task, TaskInto};
use crate::blocking::Stop;
use crate::join::Orphans;
use crate::task::TaskId;

impl<T: Send + 'static, E: Send + 'static> TaskInto<'_, T, E> {
    /// Runs blocking code that may fail as a child in the group; see
    /// [`try_blocking`](crate::try_blocking).
    ///
    /// # Errors
    ///
    /// As [`try_spawn`](TaskInto::try_spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn try_blocking<F>(self, job: F) -> Result<TaskId, AtCapacity>
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
    {
        // fault: full-group-accepts-job
        self.check_capacity()?;
        Ok(self.orphans.insert(self.task.try_blocking(job)))
    }
}

impl<T: Send + 'static> TaskInto<'_, T, Infallible> {
    /// Runs blocking code as a child in the group; see [`blocking`](crate::blocking()).
    ///
    /// # Errors
    ///
    /// As [`spawn`](TaskInto::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn blocking<F>(self, job: F) -> Result<TaskId, AtCapacity>
    where
        F: FnOnce(Stop) -> T + Send + 'static,
    {
        self.check_capacity()?;
        Ok(self.orphans.insert(self.task.blocking(job)))
    }
}

impl<T: Send + 'static, E: Send + 'static> Orphans<T, E> {
    /// Runs blocking code that may fail as a child in the group; see
    /// [`blocking`](Orphans::blocking).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Orphans::spawn).
    #[track_caller]
    pub fn try_blocking<F>(&self, job: F) -> TaskId
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
    {
        self.assert_capacity();
        self.insert(Task::new().try_blocking(job))
    }
}

impl<T: Send + 'static> Orphans<T> {
    /// Runs blocking code as a child in the group; see [`blocking`](crate::blocking()). Short for
    /// [`Task::orphans`], for groups without a limit.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Orphans::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{Orphans, RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let hashes = Orphans::new();
    ///     for block in [[1_u8; 64], [2; 64]] {
    ///         hashes.blocking(move |_| block.iter().map(|&byte| u32::from(byte)).sum::<u32>());
    ///     }
    ///     let mut sum = 0;
    ///     while let Some(hash) = hashes.next().await {
    ///         sum += hash?;
    ///     }
    ///     assert_eq!(sum, 192);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "spawn_blocking")]
    #[track_caller]
    pub fn blocking<F>(&self, job: F) -> TaskId
    where
        F: FnOnce(Stop) -> T + Send + 'static,
    {
        self.assert_capacity();
        self.insert(Task::new().blocking(job))
    }
}

impl<T: Send + 'static> Spawner<T> {
    /// Submits blocking code, which becomes a child of the task that owns the group; see
    /// [`blocking`](crate::blocking()).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Spawner::spawn), with the job instead of a future.
    #[track_caller]
    pub fn blocking<F>(&self, job: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(Stop) -> T + Send + 'static,
    {
        self.submit(job, JobTask::<F, T, NeverFails>::spawn_under)
    }
}

impl<T: Send + 'static, E: Send + 'static> Spawner<T, E> {
    /// Submits blocking code that may fail; see [`blocking`](Spawner::blocking).
    ///
    /// # Errors
    ///
    /// As [`blocking`](Spawner::blocking).
    #[track_caller]
    pub fn try_blocking<F>(&self, job: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
    {
        self.submit(job, JobTask::<F, Result<T, E>, MayFail>::spawn_under)
    }
}
