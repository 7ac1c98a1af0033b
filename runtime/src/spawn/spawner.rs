//! Handles that put children into a group from anywhere.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::Task;
use super::task_future::{IntoOutcome, MayFail, NeverFails};
use crate::blocking::Stop;
use crate::domain::{Domain, Intake};
use crate::join::{Group, Orphans, Promise, Refusal, SendStart, Start};
use crate::panics;
use crate::task::Slot;

/// A handle that puts children into an [`Orphans`] group from anywhere on its domain: from another
/// task, a destructor, a callback, or the executor trait of another crate.
///
/// Made by [`Orphans::spawner`]. The child's parent is the task that owns the group, not the task
/// that calls [`spawn`](Spawner::spawn): choose a group whose owner lives long enough. `spawn`
/// only stores the future and wakes the owner's domain. It neither polls nor drops a future, and no
/// child starts during the call, so it may be called under any lock.
///
/// A submitted future counts as a child of the group at once: [`Orphans::next`] waits for it, and
/// [`Orphans::len`] counts it.
///
/// # Examples
///
/// A value that is cleaned up by a task, however the task that held it ends:
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{Orphans, RunError, Spawner, run, spawn, yield_now};
///
/// struct Connection(Spawner<&'static str>);
///
/// impl Drop for Connection {
///     fn drop(&mut self) {
///         // In a task that is being cancelled: `spawn` itself would refuse the child.
///         let _ = self.0.spawn(async { "closed" });
///     }
/// }
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let cleanup = Orphans::new();
///     let connection = Connection(cleanup.spawner());
///     let user = spawn(async move {
///         let _connection = connection;
///         pending::<()>().await;
///     });
///     yield_now().await;
///     user.cancel().await;
///     assert_eq!(cleanup.next().await.expect("a child")?, "closed");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "LocalSpawn")]
#[doc(alias = "Executor")]
#[doc(alias = "Handle")]
pub struct Spawner<T, E = Infallible> {
    intake: Rc<GroupIntake<T, E>>,
}

/// A handle that puts children into an [`Orphans`] group from any thread. The futures must be
/// `Send`.
///
/// Made by [`Orphans::send_spawner`]. See [`Spawner`].
///
/// # Examples
///
/// ```
/// use matou_runtime::{Orphans, RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let group = Orphans::new();
///     let spawner = group.send_spawner();
///     let thread = std::thread::spawn(move || spawner.spawn(async { 7 }).is_ok());
///     assert_eq!(group.next_or_pending().await?, 7);
///     assert!(thread.join().unwrap());
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "Spawn")]
#[doc(alias = "Executor")]
#[doc(alias = "Handle")]
pub struct SendSpawner<T, E = Infallible> {
    group: Arc<Group<T, E>>,
}

impl<T: 'static, E: 'static> Orphans<T, E> {
    /// Returns a handle that puts children into the group from anywhere on this domain: from
    /// another task, a destructor, a callback, or the executor trait of another crate.
    ///
    /// The current task becomes the owner of the group, if the group has none, and the parent of
    /// these children. For a task that does not own the group, the handle refuses all futures.
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn spawner(&self) -> Spawner<T, E> {
        Spawner { intake: self.intake() }
    }

    /// Returns a handle that puts children into the group from any thread. See
    /// [`spawner`](Orphans::spawner).
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn send_spawner(&self) -> SendSpawner<T, E> {
        SendSpawner { group: Arc::clone(&self.intake().group) }
    }

    #[track_caller]
    fn intake(&self) -> Rc<GroupIntake<T, E>> {
        let has_task = Domain::with("`Orphans::spawner`", Domain::has_current);
        assert!(has_task, "a group has a spawner inside a task of the run");
        let used_at = Location::caller();
        Domain::with("`Orphans::spawner`", |domain| {
            let owner = self.group().owner_or_current(domain);
            if !self.check_owner(&owner, used_at) {
                let group = Group::new(0);
                drop(group.close());
                return Rc::new(GroupIntake::new(group));
            }
            let make = || Rc::new(GroupIntake::new(Arc::clone(self.group()))) as Rc<dyn Intake>;
            let intake = domain.groups().intake_or_insert(owner.group, make);
            intake.into_any().downcast().expect("a group has one type")
        })
    }
}

impl<T: 'static> Spawner<T> {
    /// Submits a future, which becomes a child of the task that owns the group.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Closed`] if the group was dropped or its owner is ending, and
    /// [`SubmitError::AtCapacity`] if the group contains as many children as it may. Both return
    /// the future. A future that was accepted is dropped without being polled if the group's owner
    /// ends before the child starts.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = T> + 'static,
    {
        self.submit(future, Task::spawn_under::<F, NeverFails>)
    }
}

impl<T: 'static, E: 'static> Spawner<T, E> {
    /// Submits a future that may fail; see [`spawn`](Spawner::spawn).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Spawner::spawn).
    #[track_caller]
    pub fn try_spawn<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.submit(future, Task::spawn_under::<F, MayFail>)
    }

    /// Spawns a child at once if the current task owns the group, so that the child inherits the
    /// deadline of the running code; otherwise submits the future.
    #[track_caller]
    pub(crate) fn spawn_or_submit<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        let Some(group) = self.intake.group_of_current() else {
            return self.try_spawn(future);
        };
        self.insert(Task::new().try_spawn(future), group);
        Ok(())
    }

    /// As [`spawn_or_submit`](Spawner::spawn_or_submit), for a blocking job.
    #[track_caller]
    pub(crate) fn block_or_submit<F>(&self, job: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
        T: Send,
        E: Send,
    {
        let Some(group) = self.intake.group_of_current() else {
            return self.try_blocking(job);
        };
        self.insert(Task::new().try_blocking(job), group);
        Ok(())
    }

    /// Adds a child of the current task, which owns the group.
    fn insert(&self, promise: Promise<T, E>, group: u32) {
        let insert = |domain: &Domain| self.intake.group.insert(promise, domain, group);
        Domain::with("spawning into a scope", insert);
    }

    /// Submits a future or a job, which `spawn` makes a child.
    #[track_caller]
    pub(super) fn submit<V: 'static>(
        &self,
        future: V,
        spawn: fn(Task, &Domain, Slot, V) -> Promise<T, E>,
    ) -> Result<(), SubmitError<V>> {
        let group = &self.intake.group;
        // A leaked group stays open although its owner is ending.
        if self.intake.owner_is_ending() {
            return Err(SubmitError::Closed(future));
        }
        if let Err(why) = group.reserve() {
            return Err(SubmitError::new(why, future));
        }
        let task = Task::new();
        self.intake
            .starts
            .borrow_mut()
            .push(Box::new(move |domain, parent| spawn(task, domain, parent, future)));
        group.notify_owner();
        Ok(())
    }
}

impl<T: Send + 'static> SendSpawner<T> {
    /// Submits a future, which becomes a child of the task that owns the group.
    ///
    /// # Errors
    ///
    /// As [`Spawner::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.submit::<F, NeverFails>(future)
    }
}

impl<T: Send + 'static, E: Send + 'static> SendSpawner<T, E> {
    /// Submits a future that may fail; see [`spawn`](SendSpawner::spawn).
    ///
    /// # Errors
    ///
    /// As [`Spawner::spawn`].
    #[track_caller]
    pub fn try_spawn<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.submit::<F, MayFail>(future)
    }

    #[track_caller]
    fn submit<F, K>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future + Send + 'static,
        K: IntoOutcome<F::Output, Value = T, Error = E> + 'static,
    {
        if let Err(why) = self.group.reserve() {
            return Err(SubmitError::new(why, future));
        }
        let spawned_at = Location::caller();
        let start = Box::new(move |domain: &Domain, parent| {
            Task::spawned_at(spawned_at).spawn_under::<F, K>(domain, parent, future)
        });
        match self.group.push(start) {
            None => self.group.notify_owner(),
            // The group was dropped in the meantime, and with it its children.
            Some(start) => drop(start),
        }
        Ok(())
    }
}

impl<T, E> SendSpawner<T, E> {
    /// Submits a function that spawns a child. It is dropped if the group does not accept it.
    pub(super) fn submit_start(&self, start: SendStart<T, E>) {
        // A group without a limit refuses only if it is closed.
        let refused = match self.group.reserve() {
            Ok(()) => self.group.push(start),
            Err(_) => Some(start),
        };
        match refused {
            None => self.group.notify_owner(),
            Some(start) => drop(start),
        }
    }
}

/// The domain's end of the spawners of a group.
struct GroupIntake<T, E> {
    group: Arc<Group<T, E>>,
    /// The futures that were submitted on this domain.
    starts: RefCell<Vec<Start<T, E>>>,
}

impl<T, E> GroupIntake<T, E> {
    fn new(group: Arc<Group<T, E>>) -> GroupIntake<T, E> {
        GroupIntake { group, starts: RefCell::default() }
    }

    /// Returns the number of the group if the current task owns it and both accept children.
    fn group_of_current(&self) -> Option<u32> {
        let owner = self.group.owner().filter(|_| !self.group.is_closed())?;
        let is_current = |domain: &Domain| {
            domain.has_handle(&owner.remote)
                && domain.current_key() == owner.task
                && domain.may_get_children(owner.task)
        };
        Domain::try_with(is_current).unwrap_or(false).then_some(owner.group)
    }

    fn owner_is_ending(&self) -> bool {
        let is_ending = |domain: &Domain| {
            let owner = self.group.owner();
            owner.is_some_and(|owner| {
                domain.has_handle(&owner.remote) && !domain.may_get_children(owner.task)
            })
        };
        Domain::try_with(is_ending).unwrap_or(false)
    }
}

impl<T: 'static, E: 'static> Intake for GroupIntake<T, E> {
    fn start_submitted(&self, domain: &Domain) {
        let Some(owner) = self.group.owner() else { return };
        let sent = self.group.take_submitted().into_iter().map(|start| start as Start<T, E>);
        let starts = self.starts.take().into_iter().chain(sent);
        for start in starts {
            if domain.may_get_children(owner.task) {
                let promise = domain.with_context_of(owner.task, |parent| start(domain, parent));
                self.group.insert_submitted(Some(promise), domain, owner.group);
            } else {
                // The owner has not dropped the group, but can join no more children.
                self.group.refuse_futures();
                self.group.insert_submitted(None, domain, owner.group);
                panics::ignore(|| drop(start));
            }
        }
    }

    fn close(&self) {
        let sent = self.group.close();
        let starts = self.starts.take();
        self.group.forget_submitted(starts.len());
        drop(sent);
        panics::drop_each(starts);
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

/// The error of submitting a future to a group. It contains the future.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError<F> {
    /// The group contains as many children as it may.
    AtCapacity(F),
    /// The group was dropped, or the task that owns it is ending.
    Closed(F),
}

impl<F> SubmitError<F> {
    fn new(why: Refusal, future: F) -> SubmitError<F> {
        match why {
            Refusal::AtCapacity => SubmitError::AtCapacity(future),
            Refusal::Closed => SubmitError::Closed(future),
        }
    }

    /// Drops the future. The rest is `Send`, so `?` turns it into a boxed error of any kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use matou_runtime::{Orphans, RunError, SubmitError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let group = Orphans::new();
    ///     let local = Rc::new(7);
    ///     let submitted = group.spawner().spawn(async move { *local });
    ///     submitted.map_err(SubmitError::without_future)?;
    ///     assert_eq!(group.next().await.expect("a child")?, 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn without_future(self) -> SubmitError<()> {
        match self {
            SubmitError::AtCapacity(_) => SubmitError::AtCapacity(()),
            SubmitError::Closed(_) => SubmitError::Closed(()),
        }
    }

    /// Returns the future, or the job.
    pub fn into_future(self) -> F {
        match self {
            SubmitError::AtCapacity(future) | SubmitError::Closed(future) => future,
        }
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::AtCapacity(_) => "AtCapacity(..)",
            SubmitError::Closed(_) => "Closed(..)",
        })
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::AtCapacity(_) => "the group is at capacity",
            SubmitError::Closed(_) => "the group was dropped, or its owner is ending",
        })
    }
}

impl<F> std::error::Error for SubmitError<F> {}

impl<T, E> Clone for Spawner<T, E> {
    fn clone(&self) -> Self {
        Spawner { intake: Rc::clone(&self.intake) }
    }
}

impl<T, E> Clone for SendSpawner<T, E> {
    fn clone(&self) -> Self {
        SendSpawner { group: Arc::clone(&self.group) }
    }
}

impl<T, E> fmt::Debug for Spawner<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for SendSpawner<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendSpawner").finish_non_exhaustive()
    }
}
