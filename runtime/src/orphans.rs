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

use crate::domain::{Domain, Message, Port};
use crate::promise::Promise;
use crate::task::{Claim, Key, Outcome, TaskId, panics};
use crate::wait::{BlockedOn, WaitTarget};

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
    lowest: usize,
    /// Made when the first child is put in.
    home: Option<Home>,
}

/// Where a collector's other half is.
#[derive(Clone)]
struct Home {
    port: Arc<Port>,
    /// The number of the [`Collector`] on that domain.
    collector: u32,
    owner: Key,
}

/// The half of a collector that its domain knows: which children have ended.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Indices of promises whose children have ended, in that order.
    finished: VecDeque<u32>,
    /// Who waits for the next one.
    waker: Option<Waker>,
    /// More of them, if a task's combinators have wakers of their own.
    others: Vec<Waker>,
}

/// How many wakers a collector keeps before it wakes them all, so that those which nobody waits
/// with any more do not gather.
const WAKERS_MAX: usize = 64;

impl Collector {
    /// Notes the end of a child, and returns who waits for one; as a rule that allocates nothing.
    pub(crate) fn ended(&mut self, index: u32) -> (Option<Waker>, Vec<Waker>) {
        self.finished.push_back(index);
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
pub enum Care<T, E = Infallible> {
    /// The collector is empty.
    Nobody,
    /// No child has ended that was not handed out.
    Busy,
    /// A child has ended, with this outcome.
    Ended(Outcome<T, E>),
}

impl<T, E> Orphans<T, E> {
    /// Makes an empty collector without a limit: the program has to drain it as it fills it.
    pub fn new() -> Orphans<T, E> {
        Orphans::with_limit(usize::MAX)
    }

    /// Makes an empty collector that holds at most `limit` children, finished ones included.
    pub fn with_limit(limit: usize) -> Orphans<T, E> {
        let state = State { promises: Slab::new(), lowest: 0, home: None };
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
    pub fn care(&self) -> Care<T, E> {
        if self.is_empty() {
            return Care::Nobody;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match self.pop(None, &mut cx) {
            Poll::Ready(Some(outcome)) => Care::Ended(outcome),
            Poll::Ready(None) => Care::Nobody,
            Poll::Pending => Care::Busy,
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
        let home = self.state.borrow().home.clone()?;
        if !self.check_owner(&home) {
            return None;
        }
        let promise = self.state.borrow_mut().take_lowest()?;
        // Its index may lie among the finished ones; `pop` passes over what is not there.
        Domain::with("`Orphans::take`", |domain| {
            domain.with_entry(promise.child().entry, |node| node.claim.set(Claim::Held));
        });
        Some(promise)
    }

    /// Puts a child of the current task in.
    pub(crate) fn adopt(&self, promise: Promise<T, E>) -> TaskId {
        let (id, child) = (promise.id(), promise.child());
        let home = Domain::with("`Task::orphans`", |domain| self.home(domain));
        if !self.check_owner(&home) {
            // The collector is another task's. The child is the current task's, which is not
            // resumed: the drop cancels it.
            Domain::abandon(child.spawned_at, || drop(promise));
            return id;
        }
        let index = self.state.borrow_mut().insert(promise);
        Domain::with("`Task::orphans`", |domain| {
            let claim = Claim::Collected { collector: home.collector, index };
            domain.with_entry(child.entry, |node| node.claim.set(claim));
        });
        id
    }

    fn home(&self, domain: &Domain) -> Home {
        let mut state = self.state.borrow_mut();
        let home = state.home.get_or_insert_with(|| Home {
            port: Arc::clone(domain.port()),
            collector: domain.collectors().borrow_mut().insert(Collector::default()) as u32,
            owner: domain.current_key(),
        });
        home.clone()
    }

    /// R2: whether the current task owns the collector. If it does not, the violation is recorded.
    fn check_owner(&self, home: &Home) -> bool {
        Domain::with("`Orphans`", |domain| {
            // fault: any-task-may-use-group
            if domain.is_behind(&home.port) && domain.current_key() == home.owner {
                return true;
            }
            let child = self.state.borrow().promises.iter().next().map(|(_, p)| p.child());
            domain.raise_not_a_child(home.owner.id, child);
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
        let home = self.state.borrow().home.clone().expect("made with the first child");
        if !self.check_owner(&home) {
            return Poll::Pending;
        }
        Domain::with("`Orphans`", |domain| {
            if wait.is_some() {
                ready!(domain.spend(cx));
            }
            loop {
                let Some(index) = domain.next_finished(home.collector) else {
                    if let Some(at) = wait {
                        domain.await_collector(home.collector, at, cx.waker());
                    }
                    return Poll::Pending;
                };
                if let Some(promise) = self.state.borrow_mut().remove_ended(index, domain) {
                    return Poll::Ready(Some(promise.into_outcome(domain)));
                }
            }
        })
    }
}

impl Domain {
    fn next_finished(&self, collector: u32) -> Option<u32> {
        self.collectors().borrow_mut()[collector as usize].finished.pop_front()
    }

    fn await_collector(&self, collector: u32, at: &'static Location<'static>, waker: &Waker) {
        let asked = self.collectors().borrow_mut()[collector as usize].register(waker);
        asked.into_iter().for_each(panics::wake);
        self.note_wait(BlockedOn::new("orphans", at, WaitTarget::TaskGroup(collector)));
    }
}

impl<T, E> State<T, E> {
    fn insert(&mut self, promise: Promise<T, E>) -> u32 {
        let index = self.promises.insert(promise);
        self.lowest = self.lowest.min(index);
        u32::try_from(index).expect("a collector holds 2^32 children at most")
    }

    fn take_lowest(&mut self) -> Option<Promise<T, E>> {
        if self.promises.is_empty() {
            return None;
        }
        while !self.promises.contains(self.lowest) {
            self.lowest += 1;
        }
        Some(self.promises.remove(self.lowest))
    }

    /// Takes out the promise at `index`, unless it was taken and the place is empty or used again.
    fn remove_ended(&mut self, index: u32, domain: &Domain) -> Option<Promise<T, E>> {
        let index = index as usize;
        let ended = |promise: &Promise<T, E>| domain.child_ended(promise.child().entry);
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
        let Some(home) = state.home.take() else {
            return;
        };
        let here = Domain::try_with(|domain| {
            let here = domain.is_behind(&home.port);
            if here {
                let collectors = domain.collectors();
                let collector = collectors.borrow_mut().try_remove(home.collector as usize);
                // Its wakers may run anything when they are dropped.
                panics::ignore(|| drop(collector));
            }
            here
        });
        if here != Some(true) {
            let message = Message::CollectorDropped { collector: home.collector };
            home.port.send(message);
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
