//! What a domain knows of one task.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use matou_ownership::Ledger;

use super::cancelled::Cancelled;
use super::cell::Own;
use super::id::TaskId;
use super::panics;
use super::pocket::Pocket;
use super::rare::Rare;
use crate::wait::Noted;

/// A node's place in its domain's [`Tree`](super::tree::Tree).
pub(crate) type Slot = u32;

/// No node.
pub(crate) const NONE: Slot = Slot::MAX;

/// A node's place together with its task, so that a place used again is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
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
pub(crate) struct Node {
    // As a task.
    /// By it the task is polled. None while it runs, after its end, and in a proxy.
    pub(crate) own: Pocket<Own>,
    /// What the task owns; made when it first owns something. Empty while the task runs.
    pub(crate) ledger: Pocket<Arc<Ledger>>,
    /// Set once; from then on the body is polled no more.
    pub(crate) cancel: Pocket<Cancelled>,
    /// What few tasks have.
    pub(crate) rare: Pocket<Box<Rare>>,
    /// What the task waits for, written when it was last suspended.
    pub(crate) wait: Noted,
    /// Whether the task is in the ready queue, or runs.
    pub(crate) sched: Cell<Sched>,
    pub(crate) stage: Cell<Stage>,
    /// Whether the parent is woken at the task's end, as it is itself what waits.
    pub(crate) awaited: Cell<bool>,
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
    pub(crate) awaiter: Pocket<Box<Waker>>,
    pub(crate) claim: Cell<Claim>,
    /// The domain that the body lives on, if this node is a proxy.
    pub(crate) away: Cell<Option<u16>>,
    pub(crate) spawned_at: Cell<&'static Location<'static>>,
    pub(crate) name: Pocket<Name>,

    // As a parent: its children in the order of their making.
    pub(crate) first_child: Cell<Slot>,
    pub(crate) last_child: Cell<Slot>,
}

/// Each task pays for it.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Node>() == 160 && std::mem::offset_of!(Node, parent) <= 96);

/// What a report says of a task beside its number.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) name: Option<Name>,
}

/// A task's name. Boxed, since few tasks have one, and all have room for it.
pub(crate) type Name = Box<Arc<str>>;

impl About {
    pub(crate) fn new(spawned_at: &'static Location<'static>) -> About {
        About { spawned_at, name: None }
    }

    pub(crate) fn named(spawned_at: &'static Location<'static>, name: Arc<str>) -> About {
        About { spawned_at, name: Some(Box::new(name)) }
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.as_deref().cloned()
    }
}

/// Where a task's parent keeps its entry for it.
#[derive(Clone, Copy)]
pub(crate) enum Parent {
    /// The root, and a signal handler's place above it: nobody.
    Nobody,
    /// The parent's own node, on this domain.
    Here(Slot),
    /// The proxy on the parent's domain.
    There { domain: u16, proxy: Slot },
}

/// What the parent did with its handle on a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The promise is alive.
    Held,
    /// The promise lies in a collector, under this index.
    Collected { collector: u32, index: u32 },
    /// A `Cancel` future waits for the end; it frees the entry.
    Cancelling,
    /// Nobody asks for the outcome, and that is no fault: freed at the end.
    Waived,
    /// A signal's handler: the runtime reaps it, and ends it with the root.
    Service,
    /// The promise was dropped, which is a fault at the parent's normal end.
    Forgotten,
}

impl Parent {
    /// The parent's node, if it is on this domain.
    pub(crate) fn here(self) -> Option<Slot> {
        match self {
            Parent::Here(slot) => Some(slot),
            Parent::Nobody | Parent::There { .. } => None,
        }
    }
}

impl Claim {
    /// Whether a normal end of the parent with this child in its list breaks R1.
    pub(crate) fn breaks_r1(self) -> bool {
        // fault: undrained-group-excused
        matches!(self, Claim::Held | Claim::Collected { .. } | Claim::Forgotten)
    }
}

/// How far a task has come. Numbers in brackets are the transitions in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Polled, or waiting to be.
    Living,
    /// Polled no more: waits for its children to end \[2, 3, 4\].
    Winding,
    /// Its future is gone, or being dropped, and what it owns is finalized \[5\].
    Settling,
    /// Over; the outcome is there for the parent \[6\].
    Ended,
}

/// Where a task is on its way from a wake-up to a poll. A wake-up costs no locked instruction: only
/// the domain asks and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sched {
    /// Suspended, or over, or a proxy.
    Idle,
    /// In the ready queue, once.
    Queued,
    /// Being polled.
    Running,
    /// Woken while it was polled: to be queued after the poll.
    Woken,
}

/// What a task is born with, beside its body; as a rule nothing.
#[derive(Default)]
pub(crate) struct Dowry {
    pub(crate) name: Option<Name>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) inherit: bool,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What a task leaves in its node, to be dropped where that may run anything.
#[must_use]
pub(crate) struct Remains {
    awaiter: Option<Box<Waker>>,
    ledger: Option<Arc<Ledger>>,
    rare: Option<Box<Rare>>,
}

impl Remains {
    /// Drops it. A panic of what is in it ends here.
    #[inline]
    pub(crate) fn drop(self) {
        if self.awaiter.is_some() || self.ledger.is_some() || self.rare.is_some() {
            panics::ignore(|| drop(self));
        }
    }
}

impl Node {
    /// A place that no task has taken.
    pub(super) fn vacant() -> Node {
        Node {
            id: Cell::new(TaskId::NOBODY),
            spawned_at: Cell::new(Location::caller()),
            name: Pocket::empty(),
            parent: Cell::new(Parent::Nobody),
            away: Cell::new(None),
            prev: Cell::new(NONE),
            next: Cell::new(NONE),
            claim: Cell::new(Claim::Held),
            awaited: Cell::new(false),
            awaiter: Pocket::empty(),
            first_child: Cell::new(NONE),
            last_child: Cell::new(NONE),
            live_children: Cell::new(0),
            stage: Cell::new(Stage::Living),
            cancel: Pocket::empty(),
            sched: Cell::new(Sched::Idle),
            own: Pocket::empty(),
            ledger: Pocket::empty(),
            inherit: Cell::new(false),
            rare: Pocket::empty(),
            wait: Noted::nothing(),
        }
    }

    /// Begins to stand for a task. What is not written here was left by the one before as it has to
    /// be; see `reset`.
    #[inline]
    pub(super) fn begin(&self, id: TaskId, spawned_at: &'static Location<'static>, parent: Parent) {
        debug_assert!(!self.name.is_full(), "a place is left empty");
        self.id.set(id);
        self.spawned_at.set(spawned_at);
        self.parent.set(parent);
        self.away.set(None);
        self.prev.set(NONE);
        self.next.set(NONE);
        self.claim.set(Claim::Held);
        self.awaited.set(false);
        self.stage.set(Stage::Living);
        self.inherit.set(false);
        self.wait.clear();
    }

    /// Takes over what the task is born with.
    pub(crate) fn endow(&self, dowry: Dowry) {
        let Dowry { name, ledger, inherit, rare } = dowry;
        if let Some(name) = name {
            self.name.fill(name);
        }
        if let Some(ledger) = ledger {
            self.ledger.fill(ledger);
        }
        if let Some(rare) = rare {
            self.rare.fill(rare);
        }
        self.inherit.set(inherit);
    }

    /// Stands for nobody any more.
    #[inline]
    pub(super) fn reset(&self) -> Remains {
        debug_assert!(self.ended(), "{self:?} leaves the tree before its end");
        debug_assert_eq!(self.first_child.get(), NONE, "{self:?} leaves children behind");
        debug_assert!(!self.own.is_full() && self.sched.get() == Sched::Idle, "{self:?} is over");
        self.id.set(TaskId::NOBODY);
        drop(self.name.take());
        drop(self.cancel.take());
        Remains { awaiter: self.awaiter.take(), ledger: self.ledger.take(), rare: self.rare.take() }
    }

    /// Wakes the task. Returns whether it has to be put into the ready queue.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        match self.sched.get() {
            Sched::Idle if self.own.is_full() => {
                self.sched.set(Sched::Queued);
                return true;
            }
            Sched::Running => self.sched.set(Sched::Woken),
            Sched::Idle | Sched::Queued | Sched::Woken => {}
        }
        false
    }

    #[inline]
    pub(crate) fn ended(&self) -> bool {
        self.stage.get() == Stage::Ended
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.look(|name| name.map(|name| Arc::clone(name)))
    }

    /// What a report says of the task.
    pub(crate) fn about(&self) -> About {
        About { spawned_at: self.spawned_at.get(), name: self.name.get() }
    }

    /// Calls `f` with what few tasks have; from now on this one has it.
    pub(crate) fn with_rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        self.rare.alter(|rare| f(rare.get_or_insert_default()))
    }

    /// Whether the task is a shield.
    pub(super) fn is_shield(&self) -> bool {
        self.rare.look(|rare| rare.is_some_and(|rare| rare.shielding.is_some()))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id.get())
            .field("stage", &self.stage.get())
            .field("claim", &self.claim.get())
            .field("live_children", &self.live_children.get())
            .finish_non_exhaustive()
    }
}
