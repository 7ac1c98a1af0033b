//! One task in a domain's task tree.

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

/// The index of a node in its domain's [`TaskTree`](super::TaskTree).
pub(crate) type Slot = u32;

/// The index of no node.
pub(crate) const NIL: Slot = Slot::MAX;

/// A node together with the task that it represents. After the node is reused for another task, the
/// key refers to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    pub(crate) slot: Slot,
    pub(crate) id: TaskId,
}

/// A task of the domain, or a *proxy*: the entry of a child that lives on another domain in the
/// list of its parent. `R` is the reference by which the task is polled.
///
/// Only the domain's own thread accesses a node. All fields are cells, so that a node can be
/// borrowed once and then read and written while the domain does the same with this and other
/// nodes.
///
/// The fields that every poll accesses come first and fit into 96 bytes: at most two cache lines,
/// wherever in its page a node of 160 bytes begins.
#[repr(C)]
pub(crate) struct Node<R> {
    // As a task.
    /// The reference by which the task is polled. `None` while it is being polled, once it is
    /// complete, and in a proxy.
    pub(crate) owner_ref: OptionCell<R>,
    /// The resources that the task owns; created when it first owns one. `None` while the task is
    /// being polled, when the ledger is the current one.
    pub(crate) ledger: OptionCell<Arc<Ledger>>,
    /// Set when the task is cancelled. From then on its body is not polled.
    pub(crate) cancel: OptionCell<Cancelled>,
    /// The state that few tasks need.
    pub(crate) cold: OptionCell<Box<ColdState>>,
    /// The wait of the task, written when it was last suspended.
    pub(crate) blocked_on: BlockedOnCell,
    pub(crate) run_state: Cell<RunState>,
    pub(crate) stage: Cell<Stage>,
    /// Whether the parent has polled this child with its own waker. On completion the parent is
    /// then woken directly.
    pub(crate) wake_parent: Cell<bool>,
    /// Decides about resources whose handles are still alive at the end of the task.
    pub(crate) leak_rule: Cell<LeakRule>,
    /// The number of children that are not complete.
    pub(crate) live_children: Cell<u32>,
    pub(crate) id: Cell<TaskId>,

    // As a child: the neighbours in the parent's list, and the state of the promise.
    pub(crate) parent: Cell<Parent>,
    pub(crate) prev: Cell<Slot>,
    pub(crate) next: Cell<Slot>,
    /// The waker of a combinator inside the parent that waits for this child.
    /// Boxed, because that is rare.
    pub(crate) join_waker: OptionCell<Box<Waker>>,
    pub(crate) handle_state: Cell<HandleState>,
    /// The domain that the task lives on, if this node is a proxy.
    pub(crate) remote_domain: Cell<Option<u16>>,
    pub(crate) spawned_at: Cell<&'static Location<'static>>,
    pub(crate) name: OptionCell<Name>,

    // As a parent: its children in the order in which they were spawned.
    pub(crate) first_child: Cell<Slot>,
    pub(crate) last_child: Cell<Slot>,
}

// Every task needs one, so its size matters.
#[cfg(target_pointer_width = "64")]
const _: () = {
    type Any = Node<&'static ()>;
    assert!(size_of::<Any>() == 160 && std::mem::offset_of!(Any, parent) <= 96);
};

/// The description of a task in reports, in addition to its id.
#[derive(Clone)]
pub(crate) struct TaskMeta {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) name: Option<Name>,
}

/// The name of a task. Boxed, because every node has room for one and few tasks have one.
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

/// Where the entry of a task in the list of its parent is.
#[derive(Clone, Copy)]
pub(crate) enum Parent {
    /// Nowhere: the task is the root of the run.
    None,
    /// On this domain: the node of the parent.
    Local(Slot),
    /// On the parent's domain: the proxy.
    Remote { domain: u16, proxy: Slot },
}

/// The state of the parent's handle to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleState {
    /// The promise exists, and was never polled.
    Held,
    /// The promise exists, and was polled.
    Polled,
    /// The promise is in a group, at this index.
    InGroup { group: u32, index: u32 },
    /// A `Cancel` future waits for the child and frees the node.
    Cancelling,
    /// No future waits for the child, which is no violation. The node is freed on completion.
    Detached,
    /// The child is a daemon: no future waits for it, and it is cancelled when its parent has
    /// returned and its siblings have ended. The node is freed on completion.
    Daemon,
    /// As `Detached`; a combinator of the parent waits for the child's end.
    GivenUp,
    /// The child is a signal handler, which the runtime has spawned. The node is freed on
    /// completion.
    SignalHandler,
    /// The promise was dropped in a run with [`Forgotten::Strict`](crate::Forgotten::Strict). If
    /// the parent returns, it has violated R1.
    Forgotten,
}

impl Parent {
    /// Returns the node of the parent, if it is on this domain.
    pub(crate) fn local(self) -> Option<Slot> {
        match self {
            Parent::Local(slot) => Some(slot),
            Parent::None | Parent::Remote { .. } => None,
        }
    }
}

impl HandleState {
    /// Returns whether a parent that returns with this child in its list violates R1.
    pub(crate) fn is_leak(self) -> bool {
        use HandleState::{Forgotten, Held, InGroup, Polled};
        // fault: undrained-group-excused
        matches!(self, Held | InGroup { .. } | Polled | Forgotten)
    }
}

/// The stage of a task's life. It only advances:
///
/// ```text
/// Running --(body returned, panicked, or was cancelled)--> Joining
/// Joining --(last child complete; body dropped)----------> Finalizing
/// Finalizing --(last finalizer done)---------------------> Complete
/// ```
///
/// A task without children, resources and cancellation goes from `Running` to `Complete` at once.
/// (There is one way back: a task that is ending returns from `Finalizing` to `Joining` if a
/// destructor or a finalizer has spawned a child, which is cancelled before it starts.)
///
/// Numbers in brackets are the transitions in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The body is being polled or waits to be polled. Only in this stage can the task spawn.
    Running,
    /// The body is not polled any more. Its children were cancelled, and the task waits for them
    /// \[2, 3, 4\].
    Joining,
    /// The body is dropped or being dropped, and the resources of the task are finalized \[5\].
    Finalizing,
    /// The task is complete, and the parent can take its outcome \[6\].
    ///
    /// Only the tree sets this stage, together with the count of the parent's live children and the
    /// removal of a detached node. In between no other code runs, so no destructor finds a node
    /// that is complete but still counted, and none frees a node that is about to be freed.
    Complete,
}

/// Whether a task is in the run queue. Only the domain reads and writes it, so a wake-up needs no
/// atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// The task is suspended or complete, or the node is a proxy.
    Idle,
    /// It is in the run queue, once.
    Queued,
    /// It is being polled.
    Polling,
    /// It was woken while it is being polled, and will be queued after the poll.
    Woken,
}

/// Decides about resources whose handles are still alive at the end of a task (R7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LeakRule {
    /// As the run is set.
    #[default]
    OfRun,
    /// It finalizes them. At a normal end that is a violation.
    Strict,
    /// It leaves them to the parent.
    LeftToParent,
}

/// The parameters of a new task in addition to its body; usually none.
#[derive(Default)]
pub(crate) struct SpawnParams {
    pub(crate) name: Option<Name>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) leak_rule: LeakRule,
    pub(crate) cold: Option<Box<ColdState>>,
    /// Whether the domain to which the task is sent was chosen by its load.
    pub(crate) is_counted: bool,
}

/// The contents of a freed node. Dropping it may run user code, so the caller does that at a place
/// where user code may access the domain.
#[must_use]
pub(crate) struct NodeLeftovers {
    join_waker: Option<Box<Waker>>,
    ledger: Option<Arc<Ledger>>,
    cold: Option<Box<ColdState>>,
}

impl NodeLeftovers {
    /// Drops the values. A panic of a destructor does not reach the caller.
    #[inline]
    pub(crate) fn drop(self) {
        if self.join_waker.is_some() || self.ledger.is_some() || self.cold.is_some() {
            self.drop_values();
        }
    }

    /// Drops the values one by one: if the destructors of two fields panic, the process is aborted.
    #[cold]
    fn drop_values(self) {
        panics::ignore(|| drop(self.join_waker));
        panics::ignore(|| drop(self.cold));
        panics::ignore(|| drop(self.ledger));
    }
}

impl<R> Node<R> {
    /// Creates a node that no task uses yet.
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
            leak_rule: Cell::new(LeakRule::OfRun),
            cold: OptionCell::none(),
            blocked_on: BlockedOnCell::unknown(),
        }
    }

    /// Initializes the node for a task. The fields that this does not write have their initial
    /// values already: [`reset`](Node::reset) restores them.
    #[inline]
    pub(super) fn init(&self, id: TaskId, spawned_at: &'static Location<'static>, parent: Parent) {
        debug_assert!(!self.name.is_some(), "a freed node is empty");
        self.id.set(id);
        self.spawned_at.set(spawned_at);
        self.parent.set(parent);
        self.remote_domain.set(None);
        self.prev.set(NIL);
        self.next.set(NIL);
        self.handle_state.set(HandleState::Held);
        self.wake_parent.set(false);
        self.stage.set(Stage::Running);
        self.leak_rule.set(LeakRule::OfRun);
        self.blocked_on.clear();
    }

    /// Stores the parameters of a new task.
    pub(crate) fn apply(&self, params: SpawnParams) {
        let SpawnParams { name, ledger, leak_rule, cold, is_counted: _ } = params;
        if let Some(name) = name {
            self.name.put(name);
        }
        if let Some(ledger) = ledger {
            self.ledger.put(ledger);
        }
        if let Some(cold) = cold {
            self.cold.put(cold);
        }
        self.leak_rule.set(leak_rule);
    }

    /// Clears the node of a complete task so that it can be reused.
    #[inline]
    pub(super) fn reset(&self) -> NodeLeftovers {
        debug_assert!(self.is_complete(), "{self:?} leaves the tree before its completion");
        debug_assert_eq!(self.first_child.get(), NIL, "{self:?} leaves children behind");
        debug_assert!(
            !self.owner_ref.is_some() && self.run_state.get() == RunState::Idle,
            "{self:?} is not scheduled"
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

    /// Wakes the task. Returns `true` if the caller must put it into the run queue.
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

    /// Records that the promise of this child was polled.
    #[inline]
    pub(crate) fn mark_polled(&self) {
        if matches!(self.handle_state.get(), HandleState::Held) {
            self.handle_state.set(HandleState::Polled);
        }
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.stage.get() == Stage::Complete
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.peek(|name| name.map(|name| Arc::clone(name)))
    }

    /// Returns the description of the task for reports.
    pub(crate) fn meta(&self) -> TaskMeta {
        TaskMeta { spawned_at: self.spawned_at.get(), name: self.name.get() }
    }

    /// Returns the description of the task for cancel reasons.
    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef { id: self.id.get(), name: self.name() }
    }

    /// Calls `f` with the cold state, which is allocated if the task has none yet.
    pub(crate) fn with_cold<T>(&self, f: impl FnOnce(&mut ColdState) -> T) -> T {
        self.cold.update(|cold| f(cold.get_or_insert_default()))
    }

    /// Returns the number of daemons among the children, unless they are cancelled already.
    pub(crate) fn daemons(&self) -> u32 {
        self.cold.peek(|cold| cold.map_or(0, |cold| cold.daemons))
    }

    /// Returns whether the task is a shield.
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
