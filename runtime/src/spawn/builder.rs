use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use matou_ownership::{Ledger, Resource, ResourceHandle};

use super::NoDomainAvailable;
use super::task_future::{IntoOutcome, MayFail, NeverFails, TaskFuture, allocate_lazy};
use crate::domain::{Domain, Message, RemoteSpawn};
use crate::join::{Orphans, Promise};
use crate::task::raw::allocate;
use crate::task::{Parent, Slot, SpawnParams, TaskId, TaskMeta};

/// Describes a child before it is made: its name, what it is given, where it goes.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, Task, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let promise = Task::new().name("adder").spawn(async { 40 + 2 });
///     assert_eq!(promise.await?, 42);
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "a description does nothing until a task is made of it"]
pub struct Task {
    meta: TaskMeta,
    given: Vec<Arc<dyn Resource>>,
    inherit: bool,
    pinned: Option<usize>,
}

impl Task {
    /// Begins a description; reports will name this line.
    #[inline]
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "`default` could not name the caller's line")]
    pub fn new() -> Task {
        Task::spawned_at(Location::caller())
    }

    #[inline]
    pub(crate) fn spawned_at(spawned_at: &'static Location<'static>) -> Task {
        let meta = TaskMeta::new(spawned_at);
        Task { meta, given: Vec::new(), inherit: false, pinned: None }
    }

    /// Names the task in reports.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Task {
        self.meta = TaskMeta::named(self.meta.spawned_at, name.into());
        self
    }

    /// Gives a resource to the child: from the spawn on, the child is its owner.
    ///
    /// Needed for what the child uses through a shared reference; what is moved into the child
    /// becomes its own at the first use.
    ///
    /// If the current task does not own the resource, that is the violation
    /// [`NotOwner`](crate::Violation::NotOwner).
    pub fn give(mut self, resource: &(impl ResourceHandle + ?Sized)) -> Task {
        self.given.push(resource.resource());
        self
    }

    /// Hands all that the child still owns at its normal end to its parent.
    pub fn inherit(mut self) -> Task {
        self.inherit = true;
        self
    }

    /// Chooses the domain of a [`call`](Task::call).
    pub fn pin(mut self, domain: usize) -> Task {
        self.pinned = Some(domain);
        self
    }

    /// Puts the child into a collector instead of returning its promise.
    pub fn orphans<T, E>(self, orphans: &Orphans<T, E>) -> TaskInto<'_, T, E> {
        TaskInto { task: self, orphans }
    }

    /// Makes the child on this domain. See [`spawn`](crate::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    #[must_use = "a child has to be awaited or cancelled by its parent"]
    pub fn spawn<F>(self, future: F) -> Promise<F::Output>
    where
        F: Future + 'static,
    {
        self.make_here::<_, NeverFails>(future)
    }

    /// Makes a child that may fail on this domain. See [`try_spawn`](crate::try_spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    #[must_use = "a child has to be awaited or cancelled by its parent"]
    pub fn try_spawn<F, T, E>(self, future: F) -> Promise<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        self.make_here::<_, MayFail>(future)
    }

    /// Makes the child on another domain. See [`call`](crate::call).
    ///
    /// # Errors
    ///
    /// [`NoDomainAvailable`] if there is no other domain, or [`pin`](Task::pin) names one that
    /// the child cannot go to.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn call<M, F>(self, make: M) -> Result<Promise<F::Output>, NoDomainAvailable>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.make_away::<_, _, NeverFails>(make)
    }

    /// Makes a child that may fail on another domain. See [`try_call`](crate::try_call).
    ///
    /// # Errors
    ///
    /// As [`call`](Task::call).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn try_call<M, F, T, E>(self, make: M) -> Result<Promise<T, E>, NoDomainAvailable>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.make_away::<_, _, MayFail>(make)
    }

    /// Makes a ledger of what is given, before the child can run.
    #[cold]
    #[track_caller]
    fn ledger(id: TaskId, meta: &TaskMeta, given: Vec<Arc<dyn Resource>>) -> Arc<Ledger> {
        let ledger = Ledger::new();
        ledger.set_owner(crate::domain::owner_info(id, meta));
        for resource in given {
            // A resource that is not ours to give is recorded as the current task's fault; one
            // that is finalized already cannot be given any more, nor need it.
            let _ = matou_ownership::give(&resource, &ledger);
        }
        ledger
    }

    /// Whether there is more to say of the child than its line.
    #[inline]
    fn has_no_params(&self) -> bool {
        self.meta.name.is_none() && self.given.is_empty() && !self.inherit
    }

    /// Puts together what the child `id` of `parent` is born with.
    #[cold]
    #[track_caller]
    fn params(self, domain: &Domain, parent: Slot, id: TaskId) -> SpawnParams {
        let Task { meta, given, inherit, .. } = self;
        // fault: remote-child-without-deadline
        let cold = domain.inherited_context(parent);
        let ledger = if given.is_empty() { None } else { Some(Task::ledger(id, &meta, given)) };
        SpawnParams { name: meta.name, ledger, inherit, cold }
    }

    #[inline]
    #[track_caller]
    fn make_here<F, V>(self, future: F) -> Promise<V::Value, V::Error>
    where
        F: Future + 'static,
        V: IntoOutcome<F::Output> + 'static,
    {
        // The future is in none of the closures: each would be one more place that it is copied to.
        let spawned_at = self.meta.spawned_at;
        let (remote, id, parent) = Domain::with("spawn", |domain| {
            let parent = domain.spawn_parent();
            (Arc::clone(domain.remote()), domain.next_task_id(), parent)
        });
        let (own, handle) = allocate(remote, || TaskFuture::<fn() -> F, F, V>::new(future));
        Domain::with("spawn", |domain| {
            let (entry, node) = domain.insert_task(id, spawned_at, Parent::Local(parent), own);
            if !self.has_no_params() || domain.has_inherited_context(parent) {
                node.apply(self.params(domain, parent, id));
            }
            Promise::new(handle, domain.child_ref(entry, spawned_at))
        })
    }

    #[track_caller]
    fn make_away<M, F, V>(self, make: M) -> Result<Promise<V::Value, V::Error>, NoDomainAvailable>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        V: IntoOutcome<F::Output> + 'static,
        V::Value: Send + 'static,
        V::Error: Send + 'static,
    {
        Domain::with("call", |domain| {
            let parent = domain.spawn_parent();
            let Some(target) = domain.pick_target(self.pinned) else {
                let domains = domain.run.domains();
                return Err(NoDomainAvailable { domains, pinned: self.pinned });
            };
            let (id, spawned_at) = (domain.next_task_id(), self.meta.spawned_at);
            let proxy = domain.insert_proxy(id, self.meta.clone(), parent, target as u16);
            let params = match self.has_no_params() && !domain.has_inherited_context(parent) {
                true => None,
                false => Some(Box::new(self.params(domain, parent, id))),
            };
            let (task, handle) =
                allocate_lazy::<M, F, V>(Arc::clone(domain.run.remote(target)), make);
            let (parent_domain, proxy_slot) = (domain.index() as u16, proxy.slot);
            let birth =
                RemoteSpawn { task, id, spawned_at, parent_domain, proxy: proxy_slot, params };
            domain.set_ledger_owner();
            domain.run.remote(target).send(Message::Spawn(birth));
            Ok(Promise::new(handle, domain.child_ref(proxy, spawned_at)))
        })
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.meta.name())
            .field("spawned_at", &format_args!("{}", self.meta.spawned_at))
            .field("given", &self.given.len())
            .field("inherit", &self.inherit)
            .field("pinned", &self.pinned)
            .finish()
    }
}

/// A [`Task`] whose child goes into a collector; made by [`Task::orphans`].
#[derive(Debug)]
#[must_use = "a description does nothing until a task is made of it"]
pub struct TaskInto<'a, T, E> {
    task: Task,
    orphans: &'a Orphans<T, E>,
}

/// The collector is full: nothing was spawned, and here is the future back.
///
/// Only a collector made by [`Orphans::with_limit`] is ever full. Take a finished child out
/// ([`next`](Orphans::next), [`care`](Orphans::care)) and try again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AtCapacity<F>(pub F);

impl<F> fmt::Debug for AtCapacity<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtCapacity(..)")
    }
}

impl<F> fmt::Display for AtCapacity<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the collector is full: take out a finished child before spawning another one")
    }
}

impl<F> std::error::Error for AtCapacity<F> {}

impl<T, E> TaskInto<'_, T, E>
where
    T: 'static,
    E: 'static,
{
    /// Makes a child that may fail on this domain, and puts it into the collector.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the collector holds as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn try_spawn<F>(self, future: F) -> Result<TaskId, AtCapacity<F>>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        if self.orphans.is_full() {
            return Err(AtCapacity(future));
        }
        Ok(self.orphans.insert(self.task.try_spawn(future)))
    }
}

impl<T: 'static> TaskInto<'_, T, std::convert::Infallible> {
    /// Makes a child on this domain, and puts it into the collector.
    ///
    /// # Errors
    ///
    /// [`AtCapacity`] if the collector holds as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Result<TaskId, AtCapacity<F>>
    where
        F: Future<Output = T> + 'static,
    {
        if self.orphans.is_full() {
            return Err(AtCapacity(future));
        }
        Ok(self.orphans.insert(self.task.spawn(future)))
    }
}
