//! A collector for children that run in the background.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use slab::Slab;

use crate::domain::{Domain, Message, RemoteHandle};
use crate::promise::Promise;
use crate::task::{BlockedOn, WaitSite, WaitTarget};
use crate::task::{HandleState, NodeKey, Outcome, TaskId, panics};

/// A collector for children that run in the background; it hands back the finished ones.
///
/// A child is put into it by [`Task::orphans`](crate::Task::orphans), and counts as dealt with
/// once the collector has handed its outcome out: the first that has ended comes first. A collector
/// that still holds children when it is
/// dropped forgets them, like so many promises. All its operations cost the same, however many
/// children it holds.
///
/// It belongs to the task that first uses it: only that one may put children in and take outcomes
/// out. Another task that tries commits the violation
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
pub struct Orphans<T, E = Infallible> {
    state: RefCell<State<T, E>>,
    limit: usize,
}

struct State<T, E> {
    promises: Slab<Promise<T, E>>,
    /// No promise lies below this index.
    first_occupied: usize,
    /// Made when the first child is put in.
    group_owner: Option<GroupOwner>,
}

/// Where a collector's other half is.
#[derive(Clone)]
struct GroupOwner {
    remote: Arc<RemoteHandle>,
    /// The number of the [`GroupState`] on that domain.
    group: u32,
    owner: NodeKey,
}

/// The half of a collector that its domain knows: which children have ended.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    /// Indices of promises whose children have ended, in that order.
    completed: VecDeque<u32>,
    /// Who waits for the next one.
    waker: Option<Waker>,
    /// More of them, if a task's combinators have wakers of their own.
    others: Vec<Waker>,
}

/// How many wakers a collector keeps before it wakes them all, so that those which nobody waits
/// with any more do not gather.
const WAKERS_MAX: usize = 64;

impl GroupState {
    /// Notes the end of a child, and returns who waits for one; as a rule that allocates nothing.
    pub(crate) fn child_completed(&mut self, index: u32) -> (Option<Waker>, Vec<Waker>) {
        self.completed.push_back(index);
        (self.waker.take(), std::mem::take(&mut self.others))
    }

    /// Registers who waits, and returns those who are to be asked whether they still do.
    fn register(&mut self, waker: &Waker) -> Vec<Waker> {
        let known = |known: &Waker| known.will_wake(waker);
        if self.waker.as_ref().is_some_and(known) || self.others.iter().any(known) {
            return Vec::new();
        }
        if self.waker.is_none() {
            self.waker = Some(waker.clone());
            return Vec::new();
        }
        let full = self.others.len() >= WAKERS_MAX;
        let asked = if full { std::mem::take(&mut self.others) } else { Vec::new() };
        self.others.push(waker.clone());
        asked
    }
}

/// What [`Orphans::care`] found.
#[derive(Debug)]
pub enum TryNext<T, E = Infallible> {
    /// The collector is empty.
    Empty,
    /// No child has ended that was not handed out.
    Pending,
    /// A child has ended, with this outcome.
    Completed(Outcome<T, E>),
}

impl<T, E> Orphans<T, E> {
    /// Makes an empty collector without a limit: the program has to drain it as it fills it.
    pub fn new() -> Orphans<T, E> {
        Orphans::with_limit(usize::MAX)
    }

    /// Makes an empty collector that holds at most `limit` children, finished ones included.
    pub fn with_limit(limit: usize) -> Orphans<T, E> {
        let state = State { promises: Slab::new(), first_occupied: 0, group_owner: None };
        Orphans { state: RefCell::new(state), limit }
    }

    /// Returns how many children are in the collector, finished ones included.
    pub fn len(&self) -> usize {
        self.state.borrow().promises.len()
    }

    /// Returns whether there is no child in the collector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many children it may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether it holds as many children as it may.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Looks whether a child has ended, without waiting, and hands out its outcome.
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

    /// Waits for the next child to end and hands out its outcome; `None` if there is no child.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: an outcome leaves the collector only when it is ready.
    #[track_caller]
    pub fn next(&self) -> Next<'_, T, E> {
        Next { orphans: self, at: Location::caller() }
    }

    /// Takes a child out of the collector, finished or not, oldest place first: its promise is
    /// the caller's again, to be awaited or cancelled.
    pub fn take(&self) -> Option<Promise<T, E>> {
        let group_owner = self.state.borrow().group_owner.clone()?;
        if !self.check_owner(&group_owner) {
            return None;
        }
        let promise = self.state.borrow_mut().take_first()?;
        // Its index may lie among the finished ones; `pop` passes over what is not there.
        Domain::with("`Orphans::take`", |domain| {
            domain
                .with_entry(promise.child().entry, |node| node.handle_state.set(HandleState::Held));
        });
        Some(promise)
    }

    /// Puts a child of the current task in.
    pub(crate) fn insert_child(&self, promise: Promise<T, E>) -> TaskId {
        let (id, child) = (promise.id(), promise.child());
        let group_owner = Domain::with("`Task::orphans`", |domain| self.group_owner(domain));
        if !self.check_owner(&group_owner) {
            // The collector is another task's. The child is the current task's, which is not
            // resumed: the drop cancels it.
            Domain::abandon(child.spawned_at, || drop(promise));
            return id;
        }
        let index = self.state.borrow_mut().insert(promise);
        Domain::with("`Task::orphans`", |domain| {
            let claim = HandleState::InGroup { group: group_owner.group, index };
            domain.with_entry(child.entry, |node| node.handle_state.set(claim));
        });
        id
    }

    fn group_owner(&self, domain: &Domain) -> GroupOwner {
        let mut state = self.state.borrow_mut();
        let group_owner = state.group_owner.get_or_insert_with(|| GroupOwner {
            remote: Arc::clone(domain.remote()),
            group: domain.groups().borrow_mut().insert(GroupState::default()) as u32,
            owner: domain.current_key(),
        });
        group_owner.clone()
    }

    /// R2: whether the current task owns the collector. If it does not, the violation is recorded.
    fn check_owner(&self, group_owner: &GroupOwner) -> bool {
        Domain::with("`Orphans`", |domain| {
            // fault: any-task-may-use-group
            if domain.has_handle(&group_owner.remote) && domain.current_key() == group_owner.owner {
                return true;
            }
            let child = self.state.borrow().promises.iter().next().map(|(_, p)| p.child());
            domain.raise_not_group_owner(group_owner.owner.id, child);
            false
        })
    }

    /// Hands out an outcome. If there is none, it waits, unless there is no line that does.
    fn pop(
        &self,
        wait: Option<&'static Location<'static>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Outcome<T, E>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let group_owner =
            self.state.borrow().group_owner.clone().expect("made with the first child");
        if !self.check_owner(&group_owner) {
            return Poll::Pending;
        }
        Domain::with("`Orphans`", |domain| {
            if wait.is_some() {
                ready!(domain.spend_budget(cx));
            }
            loop {
                let Some(index) = domain.next_completed(group_owner.group) else {
                    if let Some(at) = wait {
                        domain.await_group(group_owner.group, at, cx.waker());
                    }
                    return Poll::Pending;
                };
                if let Some(promise) = self.state.borrow_mut().remove_completed(index, domain) {
                    return Poll::Ready(Some(promise.into_outcome(domain)));
                }
            }
        })
    }
}

impl Domain {
    fn next_completed(&self, group: u32) -> Option<u32> {
        self.groups().borrow_mut()[group as usize].completed.pop_front()
    }

    fn await_group(&self, group: u32, at: &'static Location<'static>, waker: &Waker) {
        let asked = self.groups().borrow_mut()[group as usize].register(waker);
        asked.into_iter().for_each(panics::wake);
        self.set_blocked_on(BlockedOn::new(
            WaitSite::new("orphans", at),
            WaitTarget::TaskGroup(group),
        ));
    }
}

impl<T, E> State<T, E> {
    fn insert(&mut self, promise: Promise<T, E>) -> u32 {
        let index = self.promises.insert(promise);
        self.first_occupied = self.first_occupied.min(index);
        u32::try_from(index).expect("a group holds 2^32 children at most")
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

    /// Takes out the promise at `index`, unless it was taken and the place is empty or used again.
    fn remove_completed(&mut self, index: u32, domain: &Domain) -> Option<Promise<T, E>> {
        let index = index as usize;
        let ended = |promise: &Promise<T, E>| domain.child_is_complete(promise.child().entry);
        self.promises.get(index).is_some_and(ended).then(|| self.promises.remove(index))
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
        // First the promises: they leave no claim on this collector behind.
        let promises = std::mem::take(&mut state.promises);
        drop(promises);
        let Some(group_owner) = state.group_owner.take() else {
            return;
        };
        let here = Domain::try_with(|domain| {
            let here = domain.has_handle(&group_owner.remote);
            if here {
                let groups = domain.groups();
                let group = groups.borrow_mut().try_remove(group_owner.group as usize);
                // Its wakers may run anything when they are dropped.
                panics::ignore(|| drop(group));
            }
            here
        });
        if here != Some(true) {
            let message = Message::GroupDropped { group: group_owner.group };
            group_owner.remote.send(message);
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
