//! The state of a group of children, which [`Orphans`](super::Orphans) and its spawners share.

use std::mem;
use std::sync::{Arc, Mutex};

use slab::Slab;

use super::Promise;
use crate::domain::{ChildRef, DiscardedChildren, Domain, Message, RemoteHandle};
use crate::locks::{Guard, lock};
use crate::panics;
use crate::task::{HandleState, NodeKey, Slot};

/// The task that owns a group, and the group's other half on that task's domain.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) remote: Arc<RemoteHandle>,
    /// The number of the group on that domain.
    pub(crate) group: u32,
    pub(crate) task: NodeKey,
}

/// Spawns a submitted future as a child of the task at the slot.
pub(crate) type Start<T, E> = Box<dyn FnOnce(&Domain, Slot) -> Promise<T, E>>;
/// The same for a future that another thread has submitted.
pub(crate) type SendStart<T, E> = Box<dyn FnOnce(&Domain, Slot) -> Promise<T, E> + Send>;

/// Why a group does not accept a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AtCapacity,
    Closed,
}

/// A group of children.
///
/// No user code runs while the state is locked.
pub(crate) struct Group<T, E> {
    state: Mutex<State<T, E>>,
    limit: usize,
    /// Set if the group discards outcomes: its children.
    discarded: Option<Arc<DiscardedChildren>>,
}

/// The contents of a closed group. They are dropped in this order.
pub(crate) struct Contents<T, E> {
    promises: Slab<Promise<T, E>>,
    send_starts: Vec<SendStart<T, E>>,
    #[expect(dead_code, reason = "it is only dropped")]
    discarded: Option<GiveUp>,
}

/// Gives the children of a group that discards outcomes up when it is dropped.
struct GiveUp {
    children: Arc<DiscardedChildren>,
    owner: Arc<RemoteHandle>,
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.children.give_up(&self.owner);
    }
}

impl<T, E> Drop for Contents<T, E> {
    fn drop(&mut self) {
        drop(mem::take(&mut self.promises));
        // Two panics in the drop of one list would abort the process.
        // fault: submitted-futures-dropped-together
        panics::drop_each(self.send_starts.drain(..));
    }
}

struct State<T, E> {
    promises: Slab<Promise<T, E>>,
    /// No promise has an index below this one.
    first_occupied: usize,
    /// Set when the group is first used.
    owner: Option<Owner>,
    /// The number of submitted futures that are not spawned yet. They count as children.
    submitted: usize,
    /// Those of other threads.
    send_starts: Vec<SendStart<T, E>>,
    /// Whether a message about submitted futures is on its way to the owner's domain.
    is_notified: bool,
    /// Set when the group is dropped or its owner has ended.
    is_closed: bool,
}

impl<T, E> Group<T, E> {
    /// Creates a group that discards the outcomes of its children.
    pub(super) fn discarding(limit: usize) -> Arc<Group<T, E>> {
        Group::with_discarded(limit, Some(Arc::default()))
    }

    pub(crate) fn new(limit: usize) -> Arc<Group<T, E>> {
        Group::with_discarded(limit, None)
    }

    fn with_discarded(limit: usize, discarded: Option<Arc<DiscardedChildren>>) -> Arc<Group<T, E>> {
        let state = State {
            promises: Slab::new(),
            first_occupied: 0,
            owner: None,
            submitted: 0,
            send_starts: Vec::new(),
            is_notified: false,
            is_closed: false,
        };
        Arc::new(Group { state: Mutex::new(state), limit, discarded })
    }

    fn state(&self) -> Guard<'_, State<T, E>> {
        lock(&self.state)
    }

    /// Returns the number of children, submitted futures included.
    pub(super) fn len(&self) -> usize {
        self.state().len() + self.discarded_len()
    }

    fn discarded_len(&self) -> usize {
        self.discarded.as_ref().map_or(0, |discarded| discarded.len())
    }

    /// Returns the children.
    pub(super) fn children(&self) -> Vec<ChildRef> {
        match &self.discarded {
            Some(discarded) => discarded.all(),
            None => self.state().promises.iter().map(|(_, promise)| promise.child()).collect(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the owner of the group: the current task if it is the first one that uses it.
    pub(crate) fn owner_or_current(&self, domain: &Domain) -> Owner {
        let mut state = self.state();
        let owner = state.owner.get_or_insert_with(|| Owner {
            remote: Arc::clone(domain.remote()),
            group: domain.groups().insert(self.discarded.clone()),
            task: domain.current_key(),
        });
        owner.clone()
    }

    pub(crate) fn owner(&self) -> Option<Owner> {
        self.state().owner.clone()
    }

    /// Returns whether the group was dropped or its owner has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Adds a child of the owner, whose node is on `domain`.
    pub(crate) fn insert(&self, promise: Promise<T, E>, domain: &Domain, group: u32) {
        match &self.discarded {
            Some(discarded) => insert_discarded(discarded, promise, domain, group),
            None => self.state().insert(promise, domain, group),
        }
    }

    /// Takes the child with the lowest index out.
    pub(super) fn take_first(&self) -> Option<Promise<T, E>> {
        self.state().take_first()
    }

    /// Takes the promise at `index` out, unless it was taken before and the position is vacant or
    /// occupied by a child that is not complete.
    pub(super) fn remove_completed(&self, index: u32, domain: &Domain) -> Option<Promise<T, E>> {
        let index = index as usize;
        let is_complete = |promise: &Promise<T, E>| domain.child_is_complete(promise.child().entry);
        let mut state = self.state();
        state.promises.get(index).is_some_and(is_complete).then(|| state.promises.remove(index))
    }

    /// Returns any child.
    pub(super) fn some_child(&self) -> Option<ChildRef> {
        match &self.discarded {
            Some(discarded) => discarded.all().first().copied(),
            None => self.state().promises.iter().next().map(|(_, promise)| promise.child()),
        }
    }

    /// Refuses futures from now on.
    pub(crate) fn refuse_futures(&self) {
        self.state().is_closed = true;
    }

    /// Refuses futures from now on. Returns the children and the futures of other threads, which
    /// the caller drops.
    pub(crate) fn close(&self) -> Contents<T, E> {
        let mut state = self.state();
        state.is_closed = true;
        state.submitted -= state.send_starts.len();
        let discarded = self.discarded.clone().zip(state.owner.clone());
        Contents {
            promises: mem::take(&mut state.promises),
            send_starts: mem::take(&mut state.send_starts),
            discarded: discarded.map(|(children, owner)| GiveUp { children, owner: owner.remote }),
        }
    }
}

/// Futures that are submitted from elsewhere.
impl<T, E> Group<T, E> {
    /// Reserves a place for a future that is about to be submitted.
    pub(crate) fn reserve(&self) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Refusal::Closed);
        }
        if state.len() + self.discarded_len() >= self.limit {
            return Err(Refusal::AtCapacity);
        }
        state.submitted += 1;
        Ok(())
    }

    /// Stores a future of another thread, for which a place is reserved. Returns it if the group
    /// was closed in the meantime; the caller drops it.
    pub(crate) fn push(&self, start: SendStart<T, E>) -> Option<SendStart<T, E>> {
        let mut state = self.state();
        if state.is_closed {
            state.submitted -= 1;
            return Some(start);
        }
        state.send_starts.push(start);
        None
    }

    /// Sends the owner's domain a message about submitted futures, unless one is on its way.
    pub(crate) fn notify_owner(&self) {
        let mut state = self.state();
        let owner = state.owner.clone().expect("the group has a spawner, so it has an owner");
        if !mem::replace(&mut state.is_notified, true) {
            drop(state);
            owner.remote.send(Message::GroupSubmitted { group: owner.group });
        }
    }

    /// Returns whether a submitted future is not spawned yet.
    pub(super) fn has_submitted(&self) -> bool {
        self.state().submitted > 0
    }

    /// Takes the futures of other threads. From now on a submission sends a message again.
    pub(crate) fn take_submitted(&self) -> Vec<SendStart<T, E>> {
        let mut state = self.state();
        state.is_notified = false;
        mem::take(&mut state.send_starts)
    }

    /// Replaces a submitted future by the child that was made of it, or by nothing.
    pub(crate) fn insert_submitted(
        &self,
        promise: Option<Promise<T, E>>,
        domain: &Domain,
        group: u32,
    ) {
        if let Some(promise) = promise {
            self.insert(promise, domain, group);
        }
        self.state().submitted -= 1;
    }

    /// Forgets `count` submitted futures, which the caller drops.
    pub(crate) fn forget_submitted(&self, count: usize) {
        self.state().submitted -= count;
    }
}

/// Adds a child whose outcome is discarded. The child drops it: it has no receiver.
fn insert_discarded<T, E>(
    discarded: &DiscardedChildren,
    promise: Promise<T, E>,
    domain: &Domain,
    group: u32,
) {
    let child = promise.drop_outcome();
    let index = discarded.insert(child);
    let index = u32::try_from(index).expect("a group contains 2^32 children at most");
    let handle_state = HandleState::InGroup { group, index };
    domain.with_entry(child.entry, |node| node.handle_state.set(handle_state));
}

impl<T, E> State<T, E> {
    fn len(&self) -> usize {
        // fault: submitted-futures-not-counted
        self.promises.len() + self.submitted
    }

    fn insert(&mut self, promise: Promise<T, E>, domain: &Domain, group: u32) {
        let entry = promise.child().entry;
        let index = self.promises.insert(promise);
        self.first_occupied = self.first_occupied.min(index);
        let index = u32::try_from(index).expect("a group contains 2^32 children at most");
        let handle_state = HandleState::InGroup { group, index };
        domain.with_entry(entry, |node| node.handle_state.set(handle_state));
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
}
