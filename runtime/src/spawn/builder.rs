use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use matou_ownership::{Ledger, Resource, ResourceHandle};

use super::NoDomainAvailable;
use super::into_group::TaskInto;
use super::task_future::{IntoOutcome, MayFail, NeverFails, TaskFuture, allocate_lazy};
use crate::domain::{CallTarget, ChildRef, Domain, Message, OwnerRef, RemoteSpawn, assert_parent};
use crate::join::{Orphans, Promise};
use crate::task::raw::allocate;
use crate::task::{LeakRule, Parent, Slot, SpawnParams, TaskId, TaskMeta};

/// A builder for a child: its name, the resources that it is given, and the domain that it runs on.
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
#[doc(alias = "TaskBuilder")]
#[must_use = "a builder does nothing until it spawns a task"]
pub struct Task {
    meta: TaskMeta,
    /// The resources to give to the child, with the lines that said so.
    given: Vec<(Arc<dyn Resource>, &'static Location<'static>)>,
    leak_rule: LeakRule,
    target: CallTarget,
}

impl Task {
    /// Creates a description. Reports name the line of this call.
    #[inline]
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "`default` could not name the caller's line")]
    pub fn new() -> Task {
        Task::spawned_at(Location::caller())
    }

    #[inline]
    pub(crate) fn spawned_at(spawned_at: &'static Location<'static>) -> Task {
        let meta = TaskMeta::new(spawned_at);
        Task { meta, given: Vec::new(), leak_rule: LeakRule::OfRun, target: CallTarget::InTurn }
    }

    /// Sets the name of the task in reports.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Task {
        self.meta = TaskMeta::named(self.meta.spawned_at, name.into());
        self
    }

    /// Gives a resource to the child, which owns it from the spawn on.
    ///
    /// This is needed for a resource that the child uses by a shared reference. A value that is
    /// moved into the child belongs to the child from the first use on.
    ///
    /// The child must release, [`transfer`](crate::transfer) or [`disown`](crate::disown) what it
    /// was given before it ends normally; otherwise that is the violation
    /// [`ResourceLeaked`](crate::Violation::ResourceLeaked).
    ///
    /// If the current task does not own the resource, that is the violation
    /// [`NotOwner`](crate::Violation::NotOwner). Giving one resource twice to the same child has no
    /// further effect.
    #[track_caller]
    pub fn give(mut self, resource: &(impl ResourceHandle + ?Sized)) -> Task {
        self.given.push((resource.resource(), Location::caller()));
        self
    }

    /// Requires that no handle of the child's resources is alive when the child ends normally:
    /// that is the violation [`ResourceLeaked`](crate::Violation::ResourceLeaked), and the
    /// resources are finalized at the end of the child, however it ends.
    ///
    /// Otherwise such a resource passes to the parent, unless the run is strict:
    /// [`Builder::leaks`](crate::Builder::leaks) sets the rule for all tasks of a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::Owned;
    /// use matou_runtime::{Builder, RunError, Task, TaskError};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// Builder::new().on_report(|_| {}).run(async {
    ///     let child = Task::new().strict_resources();
    ///     let outcome = child.spawn(async { std::mem::forget(Owned::new(1, drop)) }).await;
    ///     assert!(matches!(outcome, Err(TaskError::Violation(_))));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn strict_resources(mut self) -> Task {
        self.leak_rule = LeakRule::Strict;
        self
    }

    /// Leaves the child's resources whose handles are still alive when it ends to its parent, also
    /// in a run whose [`leaks`](crate::Builder::leaks) are set to
    /// [`AtTaskEnd`](crate::Leaks::AtTaskEnd). In other runs this is the rule for all tasks.
    pub fn inherit(mut self) -> Task {
        self.leak_rule = LeakRule::LeftToParent;
        self
    }

    /// Sets the domain of a [`call`](Task::call). Domain 0 is one only with
    /// [`Builder::calls_to_domain_0`](crate::Builder::calls_to_domain_0).
    pub fn pin(mut self, domain: usize) -> Task {
        self.target = CallTarget::Pinned(domain);
        self
    }

    /// Sends a [`call`](Task::call) to the domain on which the fewest tasks live, instead of to
    /// each domain in turn.
    ///
    /// Domains publish the number of their tasks once in each tick, so the choice is a good guess.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{Builder, RunError, Task, current_domain, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// Builder::new().domains(3).run(async {
    ///     let busy = Task::new().pin(1).call(pending::<()>)?;
    ///     let child = Task::new().least_loaded().call(|| async { current_domain() })?;
    ///     let second = Task::new().least_loaded().call(|| async { current_domain() })?;
    ///     assert!([child.await?, second.await?].contains(&Some(2)));
    ///     busy.cancel().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "load_balancing")]
    pub fn least_loaded(mut self) -> Task {
        self.target = CallTarget::LeastLoaded;
        self
    }

    /// Spawns the child into a group instead of returning its promise.
    pub fn orphans<T, E>(self, orphans: &Orphans<T, E>) -> TaskInto<'_, T, E> {
        TaskInto { task: self, orphans }
    }

    /// Spawns the child on this domain. See [`spawn`](crate::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Promise<F::Output>
    where
        F: Future + 'static,
    {
        self.spawn_here::<_, NeverFails>(future)
    }

    /// Spawns a child that may fail on this domain. See [`try_spawn`](crate::try_spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn try_spawn<F, T, E>(self, future: F) -> Promise<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        self.spawn_here::<_, MayFail>(future)
    }

    /// Spawns the child on another domain. See [`call`](crate::call).
    ///
    /// # Errors
    ///
    /// [`NoDomainAvailable`] if there is no other domain, or if the child cannot run on the domain
    /// that was set by [`pin`](Task::pin).
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
        self.spawn_remote::<_, _, NeverFails>(make)
    }

    /// Spawns a child that may fail on another domain. See [`try_call`](crate::try_call).
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
        self.spawn_remote::<_, _, MayFail>(make)
    }

    /// Creates the child's ledger with the given resources, before the child can run.
    #[cold]
    #[track_caller]
    fn ledger(
        id: TaskId,
        meta: &TaskMeta,
        given: Vec<(Arc<dyn Resource>, &'static Location<'static>)>,
    ) -> Arc<Ledger> {
        let ledger = Ledger::new();
        ledger.set_owner(crate::domain::owner_info(id, meta));
        for (resource, given_at) in given {
            // If the current task does not own the resource, `give` records the violation. A
            // resource that is finalized already need not be given.
            let _ = matou_ownership::give_at(&resource, &ledger, given_at);
        }
        ledger
    }

    /// Returns the line that reports name.
    pub(super) fn line(&self) -> &'static Location<'static> {
        self.meta.spawned_at
    }

    /// Returns whether neither name, resources nor a rule for leaks were set.
    #[inline]
    fn has_no_params(&self) -> bool {
        self.meta.name.is_none()
            && self.given.is_empty()
            && self.leak_rule == LeakRule::OfRun
            && self.target != CallTarget::LeastLoaded
    }

    /// Returns the parameters of the child `id` of `parent`, with what it inherits.
    #[cold]
    #[track_caller]
    fn params(self, domain: &Domain, parent: Slot, id: TaskId) -> SpawnParams {
        let Task { meta, given, leak_rule, target } = self;
        // fault: remote-child-without-deadline
        let cold = domain.inherited_context(parent);
        let ledger = if given.is_empty() { None } else { Some(Task::ledger(id, &meta, given)) };
        let is_counted = target == CallTarget::LeastLoaded;
        SpawnParams { name: meta.name, ledger, leak_rule, cold, is_counted }
    }

    #[inline]
    #[track_caller]
    fn spawn_here<F, K>(self, future: F) -> Promise<K::Value, K::Error>
    where
        F: Future + 'static,
        K: IntoOutcome<F::Output> + 'static,
    {
        // The domain is entered twice, because a future that is captured by a closure is copied
        // once more. `allocate` creates it in its final place.
        let (remote, id, parent) = Domain::with("spawn", |domain| {
            let parent = domain.spawn_parent();
            (Arc::clone(domain.remote()), domain.next_task_id(), parent)
        });
        assert_parent(parent);
        let (owner, outcome) = allocate(remote, || TaskFuture::<fn() -> F, F, K>::new(future));
        Domain::with("spawn", |domain| {
            let child = self.insert(domain, id, parent, owner);
            if !domain.may_start_children(parent) {
                domain.refuse_child(parent, child.entry.slot);
            }
            Promise::new(outcome, child)
        })
    }

    /// Spawns a child of the task at `parent`, which is running but is not being polled.
    pub(super) fn spawn_under<F, K>(
        self,
        domain: &Domain,
        parent: Slot,
        future: F,
    ) -> Promise<K::Value, K::Error>
    where
        F: Future + 'static,
        K: IntoOutcome<F::Output> + 'static,
    {
        let (remote, id) = (Arc::clone(domain.remote()), domain.next_task_id());
        let (owner, outcome) = allocate(remote, || TaskFuture::<fn() -> F, F, K>::new(future));
        Promise::new(outcome, self.insert(domain, id, parent, owner))
    }

    /// Adds a task to the tree, with the parameters of this description.
    #[inline]
    #[track_caller]
    pub(super) fn insert(
        self,
        domain: &Domain,
        id: TaskId,
        parent: Slot,
        owner: OwnerRef,
    ) -> ChildRef {
        let spawned_at = self.meta.spawned_at;
        let (entry, node) = domain.insert_task(id, spawned_at, Parent::Local(parent), owner);
        if !self.has_no_params() || domain.has_inherited_context(parent) {
            node.apply(self.params(domain, parent, id));
        }
        domain.child_ref(entry, spawned_at)
    }

    #[track_caller]
    fn spawn_remote<M, F, K>(
        self,
        make: M,
    ) -> Result<Promise<K::Value, K::Error>, NoDomainAvailable>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        K: IntoOutcome<F::Output> + 'static,
        K::Value: Send + 'static,
        K::Error: Send + 'static,
    {
        let parent = Domain::with("call", Domain::spawn_parent);
        assert_parent(parent);
        Domain::with("call", |domain| {
            let Some(target) = domain.pick_target(self.target) else {
                let domains = domain.run.domains();
                let pinned = match self.target {
                    CallTarget::Pinned(domain) => Some(domain),
                    CallTarget::InTurn | CallTarget::LeastLoaded => None,
                };
                return Err(NoDomainAvailable { domains, pinned });
            };
            let (id, spawned_at) = (domain.next_task_id(), self.meta.spawned_at);
            // The proxy is the child's entry in the list of its parent.
            let proxy = domain.insert_proxy(id, self.meta.clone(), parent, target as u16);
            let params = match self.has_no_params() && !domain.has_inherited_context(parent) {
                true => None,
                false => Some(Box::new(self.params(domain, parent, id))),
            };
            // The child may use resources of its parent before this poll ends.
            domain.set_ledger_owner();
            let remote = domain.run.remote(target);
            if params.as_ref().is_some_and(|params| params.is_counted) {
                remote.count_sent();
            }
            let (task, outcome) = allocate_lazy::<M, F, K>(Arc::clone(remote), make);
            let parent_domain = domain.index() as u16;
            domain.publish_task_count();
            remote.send(Message::Spawn(RemoteSpawn {
                task,
                id,
                spawned_at,
                parent_domain,
                proxy: proxy.slot,
                params,
            }));
            if !domain.may_start_children(parent) {
                domain.refuse_child(parent, proxy.slot);
            }
            Ok(Promise::new(outcome, domain.child_ref(proxy, spawned_at)))
        })
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.meta.name())
            .field("spawned_at", &format_args!("{}", self.meta.spawned_at))
            .field("given", &self.given.len())
            .field("leak_rule", &self.leak_rule)
            .field("target", &self.target)
            .finish()
    }
}
