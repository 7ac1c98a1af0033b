//! What a domain knows of one task.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use matou_ownership::Ledger;

use super::blocked_on::BlockedOnCell;
use super::cancel_reason::{Cancelled, TaskRef};
use super::cold::ColdState;
use super::id::TaskId;
use super::option_cell::OptionCell;
use crate::panics;

/// A node's place in its domain's [`TaskTree`](super::tree::Tree).
pub(crate) type Slot = u32;

/// No node.
pub(crate) const NIL: Slot = Slot::MAX;

/// A node's place together with its task, so that a place used again is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    pub(crate) slot: Slot,
    pub(crate) id: TaskId,
}

/// One task, as its domain sees it; or a *proxy*, by which the parent's domain keeps a child that
/// lives on another domain in the parent's list.
///
/// Only the domain that holds the node reads or writes it. All of it is in cells: a node is looked
/// up once and then read and written, whatever else the domain does meanwhile with it or others.
///
/// What each poll touches comes first, and fits into 96 bytes: two lines of the cache, wherever in
/// its page a node of 160 bytes begins.
#[repr(C)]
pub(crate) struct Node<R> {
    // As a task.
    /// By it the task is polled. None while it runs, after its end, and in a proxy.
    pub(crate) owner_ref: OptionCell<R>,
    /// What the task owns; made when it first owns something. Empty while the task runs.
    pub(crate) ledger: OptionCell<Arc<Ledger>>,
    /// Set once; from then on the body is polled no more.
    pub(crate) cancel: OptionCell<Cancelled>,
    /// What few tasks have.
    pub(crate) cold: OptionCell<Box<ColdState>>,
    /// What the task waits for, written when it was last suspended.
    pub(crate) blocked_on: BlockedOnCell,
    /// Whether the task is in the ready queue, or runs.
    pub(crate) run_state: Cell<RunState>,
    pub(crate) stage: Cell<Stage>,
    /// Whether the parent is woken at the task's end, as it is itself what waits.
    pub(crate) wake_parent: Cell<bool>,
    /// Whether a normal end hands what is still owned to the parent.
    pub(crate) inherit: Cell<bool>,
    /// How many of the children have not ended.
    pub(crate) live_children: Cell<u32>,
    pub(crate) id: Cell<TaskId>,

    // As a child: the neighbours in the parent's list, and what the parent did with the promise.
    /// Where the parent's entry for this task is.
    pub(crate) parent: Cell<Parent>,
    pub(crate) prev: Cell<Slot>,
    pub(crate) next: Cell<Slot>,
    /// Woken at the task's end, if something else waits inside the parent: a combinator.
    /// Boxed, since that is rare.
    pub(crate) join_waker: OptionCell<Box<Waker>>,
    pub(crate) handle_state: Cell<HandleState>,
    /// The domain that the body lives on, if this node is a proxy.
    pub(crate) remote_domain: Cell<Option<u16>>,
    pub(crate) spawned_at: Cell<&'static Location<'static>>,
    pub(crate) name: OptionCell<Name>,

    // As a parent: its children in the order of their making.
    pub(crate) first_child: Cell<Slot>,
    pub(crate) last_child: Cell<Slot>,
}

/// Each task pays for it.
#[cfg(target_pointer_width = "64")]
const _: () = {
    type Any = Node<&'static ()>;
    assert!(size_of::<Any>() == 160 && std::mem::offset_of!(Any, parent) <= 96);
};

/// What a report says of a task beside its number.
#[derive(Clone)]
pub(crate) struct TaskMeta {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) name: Option<Name>,
}

/// A task's name. Boxed, since few tasks have one, and all have room for it.
pub(crate) type Name = Box<Arc<str>>;

impl TaskMeta {
    pub(crate) fn new(spawned_at: &'static Location<'static>) -> TaskMeta {
        TaskMeta { spawned_at, name: None }
    }

    pub(crate) fn named(spawned_at: &'static Location<'static>, name: Arc<str>) -> TaskMeta {
        TaskMeta { spawned_at, name: Some(Box::new(name)) }
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.as_deref().cloned()
    }
}

/// Where a task's parent keeps its entry for it.
#[derive(Clone, Copy)]
pub(crate) enum Parent {
    /// The root, and a signal handler's place above it: nobody.
    None,
    /// The parent's own node, on this domain.
    Local(Slot),
    /// The proxy on the parent's domain.
    Remote { domain: u16, proxy: Slot },
}

/// What the parent did with its handle on a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleState {
    /// The promise is alive.
    Held,
    /// The promise lies in a collector, under this index.
    InGroup { group: u32, index: u32 },
    /// A `Cancel` future waits for the end; it frees the entry.
    Cancelling,
    /// Nobody asks for the outcome, and that is no fault: freed at the end.
    Detached,
    /// A signal's handler: the runtime reaps it, and ends it with the root.
    SignalHandler,
    /// The promise was dropped, which is a fault at the parent's normal end.
    Forgotten,
}

impl Parent {
    /// The parent's node, if it is on this domain.
    pub(crate) fn local(self) -> Option<Slot> {
        match self {
            Parent::Local(slot) => Some(slot),
            Parent::None | Parent::Remote { .. } => None,
        }
    }
}

impl HandleState {
    /// Whether a normal end of the parent with this child in its list breaks R1.
    pub(crate) fn is_leak(self) -> bool {
        // fault: undrained-group-excused
        matches!(self, HandleState::Held | HandleState::InGroup { .. } | HandleState::Forgotten)
    }
}

/// How far a task has come. Numbers in brackets are the transitions in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Polled, or waiting to be.
    Running,
    /// Polled no more: waits for its children to end \[2, 3, 4\].
    Joining,
    /// Its future is gone, or being dropped, and what it owns is finalized \[5\].
    Finalizing,
    /// Over; the outcome is there for the parent \[6\].
    Complete,
}

/// Where a task is on its way from a wake-up to a poll. A wake-up costs no locked instruction: only
/// the domain asks and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Suspended, or over, or a proxy.
    Idle,
    /// In the ready queue, once.
    Queued,
    /// Being polled.
    Polling,
    /// Woken while it was polled: to be queued after the poll.
    Woken,
}

/// What a task is born with, beside its body; as a rule nothing.
#[derive(Default)]
pub(crate) struct SpawnParams {
    pub(crate) name: Option<Name>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) inherit: bool,
    pub(crate) cold: Option<Box<ColdState>>,
}

/// What a task leaves in its node, to be dropped where that may run anything.
#[must_use]
pub(crate) struct NodeLeftovers {
    join_waker: Option<Box<Waker>>,
    ledger: Option<Arc<Ledger>>,
    cold: Option<Box<ColdState>>,
}

impl NodeLeftovers {
    /// Drops it. A panic of what is in it ends here.
    #[inline]
    pub(crate) fn drop(self) {
        if self.join_waker.is_some() || self.ledger.is_some() || self.cold.is_some() {
            panics::ignore(|| drop(self));
        }
    }
}

impl<R> Node<R> {
    /// A place that no task has taken.
    pub(super) fn unused() -> Node<R> {
        Node {
            id: Cell::new(TaskId::NONE),
            spawned_at: Cell::new(Location::caller()),
            name: OptionCell::none(),
            parent: Cell::new(Parent::None),
            remote_domain: Cell::new(None),
            prev: Cell::new(NIL),
            next: Cell::new(NIL),
            handle_state: Cell::new(HandleState::Held),
            wake_parent: Cell::new(false),
            join_waker: OptionCell::none(),
            first_child: Cell::new(NIL),
            last_child: Cell::new(NIL),
            live_children: Cell::new(0),
            stage: Cell::new(Stage::Running),
            cancel: OptionCell::none(),
            run_state: Cell::new(RunState::Idle),
            owner_ref: OptionCell::none(),
            ledger: OptionCell::none(),
            inherit: Cell::new(false),
            cold: OptionCell::none(),
            blocked_on: BlockedOnCell::unknown(),
        }
    }

    /// Begins to stand for a task. What is not written here was left by the one before as it has to
    /// be; see `reset`.
    #[inline]
    pub(super) fn init(&self, id: TaskId, spawned_at: &'static Location<'static>, parent: Parent) {
        debug_assert!(!self.name.is_some(), "a place is left empty");
        self.id.set(id);
        self.spawned_at.set(spawned_at);
        self.parent.set(parent);
        self.remote_domain.set(None);
        self.prev.set(NIL);
        self.next.set(NIL);
        self.handle_state.set(HandleState::Held);
        self.wake_parent.set(false);
        self.stage.set(Stage::Running);
        self.inherit.set(false);
        self.blocked_on.clear();
    }

    /// Takes over what the task is born with.
    pub(crate) fn apply(&self, params: SpawnParams) {
        let SpawnParams { name, ledger, inherit, cold } = params;
        if let Some(name) = name {
            self.name.put(name);
        }
        if let Some(ledger) = ledger {
            self.ledger.put(ledger);
        }
        if let Some(cold) = cold {
            self.cold.put(cold);
        }
        self.inherit.set(inherit);
    }

    /// Stands for nobody any more.
    #[inline]
    pub(super) fn reset(&self) -> NodeLeftovers {
        debug_assert!(self.is_complete(), "{self:?} leaves the tree before its end");
        debug_assert_eq!(self.first_child.get(), NIL, "{self:?} leaves children behind");
        debug_assert!(
            !self.owner_ref.is_some() && self.run_state.get() == RunState::Idle,
            "{self:?} is over"
        );
        self.id.set(TaskId::NONE);
        drop(self.name.take());
        drop(self.cancel.take());
        NodeLeftovers {
            join_waker: self.join_waker.take(),
            ledger: self.ledger.take(),
            cold: self.cold.take(),
        }
    }

    /// Wakes the task. Returns whether it has to be put into the ready queue.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        match self.run_state.get() {
            RunState::Idle if self.owner_ref.is_some() => {
                self.run_state.set(RunState::Queued);
                return true;
            }
            RunState::Polling => self.run_state.set(RunState::Woken),
            RunState::Idle | RunState::Queued | RunState::Woken => {}
        }
        false
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.stage.get() == Stage::Complete
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.peek(|name| name.map(|name| Arc::clone(name)))
    }

    /// What a report says of the task.
    pub(crate) fn meta(&self) -> TaskMeta {
        TaskMeta { spawned_at: self.spawned_at.get(), name: self.name.get() }
    }

    /// Returns what a cancel reason says of the task.
    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef { id: self.id.get(), name: self.name() }
    }

    /// Calls `f` with what few tasks have; from now on this one has it.
    pub(crate) fn with_cold<T>(&self, f: impl FnOnce(&mut ColdState) -> T) -> T {
        self.cold.update(|cold| f(cold.get_or_insert_default()))
    }

    /// Whether the task is a shield.
    pub(super) fn is_shield(&self) -> bool {
        self.cold.peek(|cold| cold.is_some_and(|cold| cold.shield.is_some()))
    }
}

impl<R> fmt::Debug for Node<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id.get())
            .field("stage", &self.stage.get())
            .field("handle_state", &self.handle_state.get())
            .field("live_children", &self.live_children.get())
            .finish_non_exhaustive()
    }
}
