//! Spawning children: on this domain, on another one, on all others.
//!
//! A [`Task`] describes a child; the functions of this module are its short forms. `task_future`
//! wraps the user's future in the stages of a task.

mod blocking;
mod blocking_into;
mod builder;
mod daemon;
mod defer;
mod into_group;
mod outside;
mod root;
mod shield;
mod simulated_job;
mod spawner;
mod task_future;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;

pub use blocking::{blocking, try_blocking};
pub use builder::Task;
pub use daemon::daemon;
pub use defer::defer;
pub use into_group::{AtCapacity, SpawnWhenFree, TaskInto};
pub use shield::{CancelledWait, Shield, cancelled, shield, try_shield};
pub use spawner::{SendSpawner, Spawner, SubmitError};

pub(crate) use root::{spawn_root, spawn_signal_handler};
pub(crate) use task_future::failed;

use crate::join::{AwaitAll, Promise, await_all};

/// Spawns a child of the current task on the same domain.
///
/// The child runs at the parent's next suspension point at the earliest. The parent must await or
/// cancel it before it returns; dropping the promise cancels the child. The future is passed by
/// value, so it is on the stack for a moment: box a very large one.
///
/// # In a task that is ending
///
/// A task that is ending cannot wait for new children. A child that it spawns, in a destructor of a
/// value that a cancelled task held or in a finalizer, is cancelled before it starts, which is the
/// finding [`SpawnRefused`](crate::Finding::SpawnRefused). Put such work into the group of a task
/// that lives longer, by [`Orphans::spawner`](crate::Orphans::spawner).
///
/// # Panics
///
/// Outside a task.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, run, spawn};
///
/// let sum = run(async {
///     let a = spawn(async { 40 });
///     let b = spawn(async { 2 });
///     Ok(a.await? + b.await?)
/// });
/// assert_eq!(sum.map_err(|error: RunError| error.to_string()), Ok(42));
/// ```
#[doc(alias = "spawn_local")]
#[inline]
#[track_caller]
pub fn spawn<F>(future: F) -> Promise<F::Output>
where
    F: Future + 'static,
{
    Task::new().spawn(future)
}

/// Spawns a child that may fail. If it returns `Err`, its own children are cancelled.
///
/// # Panics
///
/// As [`spawn`].
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, TaskError, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let number = try_spawn(async { "7".parse::<i32>() });
///     assert_eq!(number.await?, 7);
///     let word = try_spawn(async { "seven".parse::<i32>() });
///     assert!(matches!(word.await, Err(TaskError::Failed { .. })));
///     Ok(())
/// })
/// # }
/// ```
#[inline]
#[track_caller]
pub fn try_spawn<F, T, E>(future: F) -> Promise<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    Task::new().try_spawn(future)
}

/// Spawns a child on another domain: neither domain 0 nor the caller's own.
///
/// The closure is sent to that domain and creates the future there. So the future need not be
/// `Send` and may contain `Rc`s.
///
/// # Errors
///
/// [`NoDomainAvailable`] if the run has no other domain.
///
/// # Panics
///
/// As [`spawn`].
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use matou_runtime::{Builder, RunError, call};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(2).run(async {
///     let here = std::thread::current().id();
///     let there = call(|| async {
///         let local = Rc::new(std::thread::current().id());
///         *local
///     })?;
///     assert_ne!(there.await?, here);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "spawn_on")]
#[doc(alias = "spawn_pinned")]
#[doc(alias = "spawn_remote")]
#[track_caller]
pub fn call<M, F>(make: M) -> Result<Promise<F::Output>, NoDomainAvailable>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    Task::new().call(make)
}

/// Spawns a child that may fail on another domain; see [`call`].
///
/// # Errors
///
/// [`NoDomainAvailable`] if the run has no other domain.
///
/// # Panics
///
/// As [`spawn`].
#[track_caller]
pub fn try_call<M, F, T, E>(make: M) -> Result<Promise<T, E>, NoDomainAvailable>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    Task::new().try_call(make)
}

/// The future of [`parallel`].
pub type Parallel<T> = AwaitAll<T, Infallible>;

/// Spawns one child for each input, distributed evenly over the other domains, and waits for all.
///
/// The future returns the outcomes in the order of the inputs.
///
/// # Errors
///
/// [`NoDomainAvailable`] if the run has no other domain and there is an input.
///
/// # Cancel safety
///
/// Dropping the future drops the promises, which cancels the children.
///
/// # Examples
///
/// ```
/// use matou_runtime::{Builder, RunError, parallel};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(3).run(async {
///     let squares = parallel(1..=4, |n: u32| async move { n * n })?.await;
///     let squares: Vec<u32> = squares.into_iter().collect::<Result<_, _>>()?;
///     assert_eq!(squares, [1, 4, 9, 16]);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "join_all")]
#[doc(alias = "fork_join")]
#[track_caller]
pub fn parallel<I, M, F>(inputs: I, make: M) -> Result<Parallel<F::Output>, NoDomainAvailable>
where
    I: IntoIterator,
    I::Item: Send + 'static,
    M: Fn(I::Item) -> F + Clone + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let at = Location::caller();
    let mut promises = Vec::new();
    for input in inputs {
        let make = make.clone();
        // Only the first call can fail, because the domains of a run do not change.
        promises.push(Task::spawned_at(at).call(move || make(input))?);
    }
    Ok(await_all(promises))
}

/// The future of [`try_parallel`].
pub type TryParallel<T, E> = AwaitAll<T, E>;

/// Spawns one child that may fail for each input, distributed evenly over the other domains, and
/// waits for all.
///
/// The future returns the outcomes in the order of the inputs. The failure of one child does not
/// cancel the others; see [`parallel`].
///
/// # Errors
///
/// [`NoDomainAvailable`] if the run has no other domain and there is an input.
///
/// # Cancel safety
///
/// Dropping the future drops the promises, which cancels the children.
///
/// # Examples
///
/// ```
/// use matou_runtime::{Builder, RunError, try_parallel};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(3).run(async {
///     let numbers = try_parallel(["1", "two", "3"], |word| async move { word.parse::<i32>() });
///     let outcomes = numbers?.await;
///     assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "try_join_all")]
#[track_caller]
pub fn try_parallel<I, M, F, T, E>(
    inputs: I,
    make: M,
) -> Result<TryParallel<T, E>, NoDomainAvailable>
where
    I: IntoIterator,
    I::Item: Send + 'static,
    M: Fn(I::Item) -> F + Clone + Send + 'static,
    F: Future<Output = Result<T, E>> + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let at = Location::caller();
    let mut promises = Vec::new();
    for input in inputs {
        let make = make.clone();
        promises.push(Task::spawned_at(at).try_call(move || make(input))?);
    }
    Ok(await_all(promises))
}

/// The error of [`call`] if the run has no domain on which the child may be spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDomainAvailable {
    pub(crate) domains: usize,
    pub(crate) pinned: Option<usize>,
}

impl fmt::Display for NoDomainAvailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains = self.domains;
        match self.pinned {
            Some(pinned) => write!(
                f,
                "cannot call a task on domain {pinned}: it must be one of this run's {domains}, \
                 and neither domain 0 nor the caller's own"
            ),
            None => write!(
                f,
                "no other domain to call a task on: the run has {domains}, and domain 0 and the \
                 caller's own do not count; raise `Builder::domains`, or `spawn` instead"
            ),
        }
    }
}

impl Error for NoDomainAvailable {}
