//! Groups of children that run in the background.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use slab::Slab;

use super::Promise;
use crate::domain::{Domain, Message, RemoteHandle};
use crate::outcome::Outcome;
use crate::task::{BlockedOn, HandleState, NodeKey, TaskId, WaitSite, WaitTarget};

/// A group of children that run in the background. It returns their outcomes in the order in which
/// they complete.
///
/// [`Task::orphans`](crate::Task::orphans) spawns a child into a group. The child counts as joined
/// once the group has returned its outcome. Dropping a group that still contains children forgets
/// them, as dropping their promises would. Each operation takes constant time, however many
/// children the group contains.
///
/// A group belongs to the first task that uses it: only that task may spawn into it and take
/// outcomes out. Another task that tries commits the violation
/// [`NotAChild`](crate::Violation::NotAChild).
///
/// # Examples
///
/// ```
/// use matou_runtime::{Orphans, RunError, Task, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let clients = Orphans::new();
///     for n in 1..=3 {
///         Task::new().orphans(&clients).spawn(async move { n })?;
///     }
///     let mut sum = 0;
///     while let Some(outcome) = clients.next().await {
///         sum += outcome?;
///     }
///     assert_eq!(sum, 6);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "JoinSet")]
#[doc(alias = "FuturesUnordered")]
#[doc(alias = "TaskGroup")]
#[doc(alias = "nursery")]
#[doc(alias = "TaskTracker")]
pub struct Orphans<T, E = Infallible> {
    state: RefCell<State<T, E>>,
    limit: usize,
}

struct State<T, E> {
    promises: Slab<Promise<T, E>>,
    /// No promise has an index below this one.
    first_occupied: usize,
    /// Set when the first child is added.
    owner: Option<Owner>,
}

/// The task that owns a group, and the group's other half on that task's domain.
#[derive(Clone)]
struct Owner {
    remote: Arc<RemoteHandle>,
    /// The number of the group on that domain.
    group: u32,
    task: NodeKey,
}

/// The result of [`Orphans::care`].
#[derive(Debug)]
pub enum TryNext<T, E = Infallible> {
    /// The group contains no child.
    Empty,
    /// The group contains children, but none of them is complete.
    Pending,
    /// A child is complete, with this outcome.
    Completed(Outcome<T, E>),
}

impl<T, E> Orphans<T, E> {
    /// Creates an empty group without a limit. The program must take outcomes out as fast as it
    /// adds children.
    pub fn new() -> Orphans<T, E> {
        Orphans::with_limit(usize::MAX)
    }

    /// Creates an empty group that contains at most `limit` children, complete ones included.
    pub fn with_limit(limit: usize) -> Orphans<T, E> {
        let state = State { promises: Slab::new(), first_occupied: 0, owner: None };
        Orphans { state: RefCell::new(state), limit }
    }

    /// Returns the number of children in the group, complete ones included.
    pub fn len(&self) -> usize {
        self.state.borrow().promises.len()
    }

    /// Returns whether the group contains no child.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many children the group may contain.
    #[doc(alias = "capacity")]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether the group contains as many children as it may.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Returns the outcome of a complete child without waiting.
    #[doc(alias = "try_next")]
    #[doc(alias = "try_join_next")]
    pub fn care(&self) -> TryNext<T, E> {
        if self.is_empty() {
            return TryNext::Empty;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match self.pop(None, &mut cx) {
            Poll::Ready(Some(outcome)) => TryNext::Completed(outcome),
            Poll::Ready(None) => TryNext::Empty,
            Poll::Pending => TryNext::Pending,
        }
    }

    /// Waits for the next child to complete and returns its outcome; `None` if the group is empty.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the group keeps an outcome until the future is ready.
    #[doc(alias = "join_next")]
    #[track_caller]
    pub fn next(&self) -> Next<'_, T, E> {
        Next { orphans: self, at: Location::caller() }
    }

    /// Takes a child out of the group, complete or not, lowest position first. Its promise belongs
    /// to the caller, which must await or cancel it.
    pub fn take(&self) -> Option<Promise<T, E>> {
        let owner = self.state.borrow().owner.clone()?;
        if !self.check_owner(&owner) {
            return None;
        }
        let promise = self.state.borrow_mut().take_first()?;
        // The domain may have listed its position as complete. `pop` skips positions that are
        // vacant or occupied by another child.
        Domain::with("`Orphans::take`", |domain| {
            domain.with_entry(promise.child().entry, |node| {
                node.handle_state.set(HandleState::Held);
            });
        });
        Some(promise)
    }

    /// Adds a child of the current task.
    pub(crate) fn insert(&self, promise: Promise<T, E>) -> TaskId {
        let (id, child) = (promise.id(), promise.child());
        let owner = Domain::with("`Task::orphans`", |domain| self.owner(domain));
        if !self.check_owner(&owner) {
            // The group belongs to another task. The child belongs to the current task, which the
            // violation has cancelled: dropping the promise cancels the child as well.
            Domain::abandon_branch(child.spawned_at, || drop(promise));
            return id;
        }
        let index = self.state.borrow_mut().insert(promise);
        Domain::with("`Task::orphans`", |domain| {
            let handle_state = HandleState::InGroup { group: owner.group, index };
            domain.with_entry(child.entry, |node| node.handle_state.set(handle_state));
        });
        id
    }

    /// Returns the owner of the group: the current task if it is the first one that uses it.
    fn owner(&self, domain: &Domain) -> Owner {
        let mut state = self.state.borrow_mut();
        let owner = state.owner.get_or_insert_with(|| Owner {
            remote: Arc::clone(domain.remote()),
            group: domain.groups().insert(),
            task: domain.current_key(),
        });
        owner.clone()
    }

    /// R2: returns whether the current task owns the group. If not, the violation is recorded.
    fn check_owner(&self, owner: &Owner) -> bool {
        Domain::with("`Orphans`", |domain| {
            // fault: any-task-may-use-group
            if domain.has_handle(&owner.remote) && domain.current_key() == owner.task {
                return true;
            }
            let child = self.state.borrow().promises.iter().next().map(|(_, p)| p.child());
            domain.raise_not_group_owner(owner.task.id, child);
            false
        })
    }

    /// Takes the outcome of a complete child. If there is none, registers the waker, unless `wait`,
    /// the line that waits, is `None`.
    fn pop(
        &self,
        wait: Option<&'static Location<'static>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Outcome<T, E>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let owner = self.state.borrow().owner.clone().expect("set with the first child");
        if !self.check_owner(&owner) {
            return Poll::Pending;
        }
        Domain::with("`Orphans`", |domain| {
            if wait.is_some() {
                ready!(domain.spend_budget(cx));
            }
            loop {
                let Some(index) = domain.groups().pop_completed(owner.group) else {
                    if let Some(at) = wait {
                        domain.groups().register(owner.group, cx.waker());
                        let target = WaitTarget::TaskGroup(owner.group);
                        let site = WaitSite::new("orphans", at);
                        domain.set_blocked_on(BlockedOn::new(site, target));
                    }
                    return Poll::Pending;
                };
                // Taking the outcome may run user code, so the borrow ends here.
                let promise = self.state.borrow_mut().remove_completed(index, domain);
                if let Some(promise) = promise {
                    return Poll::Ready(Some(promise.into_outcome(domain)));
                }
            }
        })
    }
}

impl<T, E> State<T, E> {
    fn insert(&mut self, promise: Promise<T, E>) -> u32 {
        let index = self.promises.insert(promise);
        self.first_occupied = self.first_occupied.min(index);
        u32::try_from(index).expect("a group contains 2^32 children at most")
    }

    fn take_first(&mut self) -> Option<Promise<T, E>> {
        if self.promises.is_empty() {
            return None;
        }
        while !self.promises.contains(self.first_occupied) {
            self.first_occupied += 1;
        }
        Some(self.promises.remove(self.first_occupied))
    }

    /// Takes the promise at `index` out, unless it was taken before and the position is vacant or
    /// occupied by a child that is not complete.
    fn remove_completed(&mut self, index: u32, domain: &Domain) -> Option<Promise<T, E>> {
        let index = index as usize;
        let is_complete = |promise: &Promise<T, E>| domain.child_is_complete(promise.child().entry);
        self.promises.get(index).is_some_and(is_complete).then(|| self.promises.remove(index))
    }
}

impl<T, E> Default for Orphans<T, E> {
    fn default() -> Self {
        Orphans::new()
    }
}

impl<T, E> Drop for Orphans<T, E> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        // First the promises: after that no child refers to the group.
        let promises = std::mem::take(&mut state.promises);
        drop(promises);
        let Some(owner) = state.owner.take() else {
            return;
        };
        let is_here = Domain::try_with(|domain| {
            let is_here = domain.has_handle(&owner.remote);
            if is_here {
                domain.groups().remove(owner.group);
            }
            is_here
        });
        if is_here != Some(true) {
            owner.remote.send(Message::GroupDropped { group: owner.group });
        }
    }
}

impl<T, E> fmt::Debug for Orphans<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orphans").field("len", &self.len()).field("limit", &self.limit).finish()
    }
}

/// The future of [`Orphans::next`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Next<'a, T, E = Infallible> {
    orphans: &'a Orphans<T, E>,
    at: &'static Location<'static>,
}

impl<T, E> Future for Next<'_, T, E> {
    type Output = Option<Outcome<T, E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.orphans.pop(Some(self.at), cx)
    }
}
