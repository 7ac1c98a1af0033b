use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use matou_ownership::{Ledger, Resource, ResourceHandle};

use super::NoDomainAvailable;
use super::cell::{allocate, allocate_newborn};
use super::id::TaskId;
use super::life::{Always, Fallible, Life, Verdict};
use super::node::{About, Dowry, Parent, Slot};
use crate::domain::{Birth, Domain, Message};
use crate::orphans::Orphans;
use crate::promise::Promise;

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
    about: About,
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
        let about = About::new(spawned_at);
        Task { about, given: Vec::new(), inherit: false, pinned: None }
    }

    /// Names the task in reports.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Task {
        self.about = About::named(self.about.spawned_at, name.into());
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
        self.make_here::<_, Always>(future)
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
        self.make_here::<_, Fallible>(future)
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
        self.make_away::<_, _, Always>(make)
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
        self.make_away::<_, _, Fallible>(make)
    }

    /// Makes a ledger of what is given, before the child can run.
    #[cold]
    #[track_caller]
    fn ledger(id: TaskId, about: &About, given: Vec<Arc<dyn Resource>>) -> Arc<Ledger> {
        let ledger = Ledger::new();
        ledger.set_owner(crate::domain::label(id, about));
        for resource in given {
            // A resource that is not ours to give is recorded as the current task's fault; one
            // that is finalized already cannot be given any more, nor need it.
            let _ = matou_ownership::give(&resource, &ledger);
        }
        ledger
    }

    /// Whether there is more to say of the child than its line.
    #[inline]
    fn is_plain(&self) -> bool {
        self.about.name.is_none() && self.given.is_empty() && !self.inherit
    }

    /// Puts together what the child `id` of `parent` is born with.
    #[cold]
    #[track_caller]
    fn dowry(self, domain: &Domain, parent: Slot, id: TaskId) -> Dowry {
        let Task { about, given, inherit, .. } = self;
        // fault: remote-child-without-deadline
        let rare = domain.legacy(parent);
        let ledger = if given.is_empty() { None } else { Some(Task::ledger(id, &about, given)) };
        Dowry { name: about.name, ledger, inherit, rare }
    }

    #[inline]
    #[track_caller]
    fn make_here<F, V>(self, future: F) -> Promise<V::Value, V::Error>
    where
        F: Future + 'static,
        V: Verdict<F::Output> + 'static,
    {
        // The future is in none of the closures: each would be one more place that it is copied to.
        let spawned_at = self.about.spawned_at;
        let (port, id, parent) = Domain::with("spawn", |domain| {
            let parent = domain.parent_to_be();
            (Arc::clone(domain.port()), domain.next_id(), parent)
        });
        let (own, handle) = allocate(port, || Life::<fn() -> F, F, V>::born(future));
        Domain::with("spawn", |domain| {
            let (entry, node) = domain.begin_life(id, spawned_at, Parent::Here(parent), own);
            if !self.is_plain() || domain.has_legacy(parent) {
                node.endow(self.dowry(domain, parent, id));
            }
            Promise::new(handle, domain.child_ref(entry, spawned_at))
        })
    }

    #[track_caller]
    fn make_away<M, F, V>(self, make: M) -> Result<Promise<V::Value, V::Error>, NoDomainAvailable>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        V: Verdict<F::Output> + 'static,
        V::Value: Send + 'static,
        V::Error: Send + 'static,
    {
        Domain::with("call", |domain| {
            let parent = domain.parent_to_be();
            let Some(target) = domain.pick_target(self.pinned) else {
                let domains = domain.run.domains();
                return Err(NoDomainAvailable { domains, pinned: self.pinned });
            };
            let (id, spawned_at) = (domain.next_id(), self.about.spawned_at);
            let proxy = domain.insert_proxy(id, self.about.clone(), parent, target as u16);
            let dowry = match self.is_plain() && !domain.has_legacy(parent) {
                true => None,
                false => Some(Box::new(self.dowry(domain, parent, id))),
            };
            let (newborn, handle) =
                allocate_newborn::<M, F, V>(Arc::clone(domain.run.port(target)), make);
            let (parent_domain, proxy_slot) = (domain.index() as u16, proxy.slot);
            let birth = Birth { newborn, id, spawned_at, parent_domain, proxy: proxy_slot, dowry };
            domain.label_current();
            domain.run.port(target).send(Message::Start(birth));
            Ok(Promise::new(handle, domain.child_ref(proxy, spawned_at)))
        })
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.about.name())
            .field("spawned_at", &format_args!("{}", self.about.spawned_at))
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
pub struct Full<F>(pub F);

impl<F> fmt::Debug for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<F> fmt::Display for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the collector is full: take out a finished child before spawning another one")
    }
}

impl<F> std::error::Error for Full<F> {}

impl<T, E> TaskInto<'_, T, E>
where
    T: 'static,
    E: 'static,
{
    /// Makes a child that may fail on this domain, and puts it into the collector.
    ///
    /// # Errors
    ///
    /// [`Full`] if the collector holds as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn try_spawn<F>(self, future: F) -> Result<TaskId, Full<F>>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        if self.orphans.is_full() {
            return Err(Full(future));
        }
        Ok(self.orphans.adopt(self.task.try_spawn(future)))
    }
}

impl<T: 'static> TaskInto<'_, T, std::convert::Infallible> {
    /// Makes a child on this domain, and puts it into the collector.
    ///
    /// # Errors
    ///
    /// [`Full`] if the collector holds as many children as it may.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[inline]
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Result<TaskId, Full<F>>
    where
        F: Future<Output = T> + 'static,
    {
        if self.orphans.is_full() {
            return Err(Full(future));
        }
        Ok(self.orphans.adopt(self.task.spawn(future)))
    }
}
