//! Groups of children that run in the background.

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::Promise;
use super::group::{Group, Owner};
use super::next::{Next, NextOrPending, NextOutcome};
use crate::domain::{Domain, GroupEvent, Message};
use crate::outcome::Outcome;
use crate::task::{BlockedOn, HandleState, TaskId, WaitSite, WaitTarget};
use crate::waker_set::WakerKey;

/// A group of children that run in the background. It returns their outcomes in the order in which
/// they complete.
///
/// [`Task::orphans`](crate::Task::orphans) spawns a child into a group, and a
/// [`spawner`](Orphans::spawner) puts children into it from anywhere else. The child counts as
/// joined once the group has returned its outcome. Dropping a group that still contains children
/// cancels them. If that happens in the last poll of a task that returns, the children count as
/// forgotten, which is reported; see [`Promise`].
/// Each operation takes constant time, however many children the group contains, except
/// [`cancel`](Orphans::cancel) and [`cancel_all`](Orphans::cancel_all).
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
    group: Arc<Group<T, E>>,
    /// The registration of the stream.
    pub(super) stream_waiter: WakerKey,
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
    ///
    /// In a full group [`spawn_when_free`](Orphans::spawn_when_free) waits, and
    /// [`Task::orphans`](crate::Task::orphans) returns an error.
    pub fn with_limit(limit: usize) -> Orphans<T, E> {
        Orphans { group: Group::new(limit), stream_waiter: WakerKey::new() }
    }

    /// Makes this a group that discards the outcomes of its children, for background work whose
    /// values are not needed: a child that has ended leaves nothing behind, and the group need not
    /// be drained with [`next`](Orphans::next).
    ///
    /// The outcome is dropped at the end of the child. A failure or a panic in it is the finding
    /// [`FailureUnseen`](crate::Finding::FailureUnseen). `next` waits until the group is empty. As
    /// any group, it must not be dropped by the last poll of its owner while it contains children.
    ///
    /// # Panics
    ///
    /// If the group was used before.
    ///
    /// # Examples
    ///
    /// At most ten requests at a time:
    ///
    /// ```
    /// use matou_runtime::{Orphans, RunError, live_tasks, run, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let requests = Orphans::with_limit(10).discarding();
    ///     for _ in 0..100 {
    ///         requests.spawn_when_free(yield_now()).await;
    ///         assert!(requests.len() <= 10 && live_tasks() <= 11);
    ///     }
    ///     requests.next().await; // the last ones
    ///     assert!(requests.is_empty());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "DiscardingTaskGroup")]
    #[doc(alias = "TaskTracker")]
    #[track_caller]
    #[must_use]
    pub fn discarding(self) -> Orphans<T, E> {
        assert!(self.group.owner().is_none(), "a group discards from its first use on");
        Orphans { group: Group::discarding(self.limit()), stream_waiter: WakerKey::new() }
    }

    /// Returns the number of children in the group, complete ones and those of a
    /// [`spawner`](Orphans::spawner) included.
    pub fn len(&self) -> usize {
        self.group.len()
    }

    /// Returns whether the group contains no child.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many children the group may contain.
    #[doc(alias = "capacity")]
    pub fn limit(&self) -> usize {
        self.group.limit()
    }

    /// Returns whether the group contains as many children as it may.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit()
    }

    /// Returns the outcome of a complete child without waiting.
    #[doc(alias = "try_next")]
    #[doc(alias = "try_join_next")]
    #[track_caller]
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
    /// The future of an empty group is ready at once. A loop that races it against other events,
    /// such as the next connection, then never waits: use
    /// [`next_or_pending`](Orphans::next_or_pending) there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the group keeps an outcome until the future is ready.
    #[doc(alias = "join_next")]
    #[track_caller]
    pub fn next(&self) -> Next<'_, T, E> {
        Next(NextOutcome::new(self, Location::caller()))
    }

    /// Waits for the next child to complete and returns its outcome. While the group is empty, the
    /// future stays pending: it waits for a child that is spawned later.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the group keeps an outcome until the future is ready.
    ///
    /// # Examples
    ///
    /// A loop that accepts connections and joins the tasks that serve them:
    ///
    /// ```
    /// use std::future::ready;
    /// use matou_runtime::{Orphans, RunError, Task, race, run};
    ///
    /// enum Event {
    ///     Accepted(u32),
    ///     Served,
    /// }
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let clients = Orphans::new();
    ///     let (mut accepted, mut served) = (0, 0);
    ///     while served < 3 {
    ///         // Stands for a listener with three clients.
    ///         let accept = async {
    ///             match accepted {
    ///                 3 => std::future::pending().await,
    ///                 number => Event::Accepted(number),
    ///             }
    ///         };
    ///         let join = async {
    ///             drop(clients.next_or_pending().await);
    ///             Event::Served
    ///         };
    ///         match race(accept, join).await {
    ///             Event::Accepted(_) => {
    ///                 accepted += 1;
    ///                 Task::new().orphans(&clients).spawn(ready(()))?;
    ///             }
    ///             Event::Served => served += 1,
    ///         }
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn next_or_pending(&self) -> NextOrPending<'_, T, E> {
        NextOrPending(NextOutcome::new(self, Location::caller()))
    }

    /// Takes a child out of the group, complete or not, lowest position first. Its promise belongs
    /// to the caller, which must await or cancel it. A group that is
    /// [discarding](Orphans::discarding) has no promises: it returns `None`.
    ///
    /// Where `StreamExt` is imported, which has a `take` too, write `Orphans::take(&group)`.
    #[track_caller]
    pub fn take(&self) -> Option<Promise<T, E>> {
        let owner = self.group.owner()?;
        if !self.check_owner(&owner, Location::caller()) {
            return None;
        }
        Domain::with("`Orphans::take`", |domain| {
            self.start_submitted(domain, &owner);
            let promise = self.group.take_first()?;
            domain.groups().child_removed(owner.group);
            // The domain may have listed its position as complete. `pop` skips positions that are
            // vacant or occupied by another child.
            domain.with_entry(promise.child().entry, |node| {
                node.handle_state.set(HandleState::Held);
            });
            Some(promise)
        })
    }

    /// Adds a child of the current task.
    #[track_caller]
    pub(crate) fn insert(&self, promise: Promise<T, E>) -> TaskId {
        let (id, child, used_at) = (promise.id(), promise.child(), Location::caller());
        Domain::with("`Task::orphans`", |domain| {
            let owner = self.group.owner_or_current(domain);
            if self.check_owner(&owner, used_at) {
                self.group.insert(promise, domain, owner.group);
            } else {
                // The group belongs to another task. The child belongs to the current task, which
                // the violation has cancelled: dropping the promise cancels the child as well.
                Domain::abandon_branch(child.spawned_at, || drop(promise));
            }
        });
        id
    }

    pub(crate) fn group(&self) -> &Arc<Group<T, E>> {
        &self.group
    }

    /// R2: returns whether the current task owns the group. If not, the violation is recorded.
    /// `used_at` is the line that uses the group.
    pub(crate) fn check_owner(&self, owner: &Owner, used_at: &'static Location<'static>) -> bool {
        Domain::with("`Orphans`", |domain| {
            // fault: any-task-may-use-group
            if domain.has_handle(&owner.remote) && domain.current_key() == owner.task {
                return true;
            }
            domain.raise_not_group_owner(owner.task.id, self.group.some_child(), used_at);
            false
        })
    }

    /// Spawns the futures that were submitted, without waiting for the message about them.
    pub(super) fn start_submitted(&self, domain: &Domain, owner: &Owner) {
        if self.group.has_submitted() {
            domain.start_submitted(owner.group);
        }
    }

    /// Takes the next outcome. `key` is the registration of the waiting future, which calls
    /// [`cancel_wait`](Orphans::cancel_wait) when it is dropped, and `at` its line.
    #[track_caller]
    pub(crate) fn poll_outcome(
        &self,
        key: &mut WakerKey,
        at: &'static Location<'static>,
        when_empty: WhenEmpty,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Outcome<T, E>>> {
        let poll = self.pop(Some(Wait { at, when_empty, key: &mut *key }), cx);
        if poll.is_ready() {
            self.cancel_wait(key);
        }
        poll
    }

    /// Removes the waker of a future that does not wait any more.
    pub(crate) fn cancel_wait(&self, key: &mut WakerKey) {
        if !key.is_set() {
            return;
        }
        if let Some(owner) = self.group.owner() {
            // On another thread the waker stays until the next outcome.
            let event = GroupEvent::Completion;
            Domain::try_with(|domain| domain.groups().cancel_wait(owner.group, event, key));
        }
    }

    /// Waits until the group contains fewer children than its limit. `key` is the registration of
    /// the waiting future.
    #[track_caller]
    pub(crate) fn poll_vacancy(
        &self,
        key: &mut WakerKey,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        let used_at = Location::caller();
        Domain::with("`Orphans`", |domain| {
            let owner = self.group.owner_or_current(domain);
            if self.check_owner(&owner, used_at) {
                domain.groups().register(owner.group, GroupEvent::Vacancy, key, cx.waker());
                let site = WaitSite::new("a place in a group", at);
                domain.set_blocked_on(BlockedOn::new(site, WaitTarget::TaskGroup(owner.group)));
            }
        });
        Poll::Pending
    }

    /// Removes the waker of a future that does not wait for a place any more.
    pub(crate) fn cancel_vacancy_wait(&self, key: &mut WakerKey) {
        let Some(owner) = self.group.owner().filter(|_| key.is_set()) else { return };
        let event = GroupEvent::Vacancy;
        Domain::try_with(|domain| domain.groups().cancel_wait(owner.group, event, key));
    }

    /// Takes the outcome of a complete child. If there is none, registers the waker, unless `wait`
    /// is `None`.
    #[track_caller]
    fn pop(&self, mut wait: Option<Wait<'_>>, cx: &mut Context<'_>) -> Poll<Option<Outcome<T, E>>> {
        let stays_pending =
            wait.as_ref().is_some_and(|wait| wait.when_empty == WhenEmpty::StayPending);
        if !stays_pending && self.is_empty() {
            return Poll::Ready(None);
        }
        let used_at = Location::caller();
        Domain::with("`Orphans`", |domain| {
            let owner = self.group.owner_or_current(domain);
            if !self.check_owner(&owner, used_at) {
                return Poll::Pending;
            }
            if wait.is_some() {
                ready!(matou_hooks::poll_budget(cx));
            }
            self.start_submitted(domain, &owner);
            loop {
                let Some(index) = domain.groups().pop_completed(owner.group) else {
                    if let Some(Wait { at, key, .. }) = &mut wait {
                        let event = GroupEvent::Completion;
                        domain.groups().register(owner.group, event, key, cx.waker());
                        let target = WaitTarget::TaskGroup(owner.group);
                        let site = WaitSite::new("orphans", at);
                        domain.set_blocked_on(BlockedOn::new(site, target));
                    }
                    return Poll::Pending;
                };
                // Taking the outcome may run user code, so the lock is released before.
                let promise = self.group.remove_completed(index, domain);
                if let Some(promise) = promise {
                    domain.groups().child_removed(owner.group);
                    return Poll::Ready(Some(promise.into_outcome(domain)));
                }
            }
        })
    }
}

/// How a future waits for the next outcome of a group.
struct Wait<'a> {
    at: &'static Location<'static>,
    when_empty: WhenEmpty,
    key: &'a mut WakerKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenEmpty {
    ReturnNone,
    StayPending,
}

impl<T, E> Default for Orphans<T, E> {
    fn default() -> Self {
        Orphans::new()
    }
}

impl<T, E> Drop for Orphans<T, E> {
    fn drop(&mut self) {
        let owner = self.group.owner();
        let is_here = owner.as_ref().and_then(|owner| {
            Domain::try_with(|domain| {
                let is_here = domain.has_handle(&owner.remote);
                if is_here {
                    // Submitted futures are children: they are dropped as such.
                    self.start_submitted(domain, owner);
                }
                is_here
            })
        });
        // First the promises: after that no child refers to the group.
        drop(self.group.close());
        let Some(Owner { remote, group, .. }) = owner else {
            return;
        };
        match is_here {
            Some(true) => drop(Domain::try_with(|domain| domain.groups().remove(group))),
            _ => remote.send(Message::GroupDropped { group }),
        }
    }
}

impl<T, E> fmt::Debug for Orphans<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orphans").field("len", &self.len()).field("limit", &self.limit()).finish()
    }
}
