//! Groups of children: the domain's half of each [`Orphans`](crate::Orphans).

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::shield::inherited_deadline;
use super::{DiscardedChildren, Domain};
use crate::locks::clone_waker;
use crate::panics;
use crate::task::{Cancelled, NodeKey, Slot, Stage};
use crate::waker_set::{WakerKey, WakerSet};

/// The groups of a domain, each by its number.
#[derive(Default)]
pub(crate) struct Groups {
    groups: RefCell<Slab<GroupState>>,
}

/// The receiver of the futures that are submitted to a group from elsewhere.
pub(crate) trait Intake {
    /// Spawns the submitted futures as children of the group's owner.
    fn start_submitted(&self, domain: &Domain);

    /// Refuses futures from now on, and drops those that are not spawned yet.
    fn close(&self);

    fn into_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// Which children of a group have completed.
#[derive(Default)]
struct GroupState {
    /// The positions of the completed children in the group, in the order of completion. A child
    /// that was taken out of the group may still be listed.
    completed: VecDeque<u32>,
    /// The wakers of the futures that wait for the next completion.
    waiters: WakerSet,
    /// The wakers of the futures that wait for a place in the group.
    vacancy: WakerSet,
    /// Set if the group has a spawner.
    intake: Option<Rc<dyn Intake>>,
    /// Set if the group discards the outcomes of its children: the children.
    discarded: Option<Arc<DiscardedChildren>>,
}

impl Groups {
    /// Adds a group and returns its number. `discarded` is set if it discards outcomes.
    pub(crate) fn insert(&self, discarded: Option<Arc<DiscardedChildren>>) -> u32 {
        let state = GroupState { discarded, ..GroupState::default() };
        self.groups.borrow_mut().insert(state) as u32
    }

    /// Removes a group, if it is still there.
    pub(crate) fn remove(&self, group: u32) {
        let state = self.groups.borrow_mut().try_remove(group as usize);
        // Dropping a waker or a future may run any code, so this happens outside the borrow.
        if let Some(intake) = state.as_ref().and_then(|state| state.intake.as_ref()) {
            panics::ignore(|| intake.close());
        }
        panics::ignore(|| drop(state));
    }

    /// Drops the groups that are left at the end of the run, which were leaked. Their spawners may
    /// outlive the domain.
    pub(super) fn clear(&self) {
        let groups = self.groups.take();
        for intake in groups.iter().filter_map(|(_, state)| state.intake.as_ref()) {
            panics::ignore(|| intake.close());
        }
        panics::drop_each(groups.into_iter().map(|(_, state)| state));
    }

    /// Returns the intake of a group, which is created when the group first has a spawner.
    pub(crate) fn intake_or_insert(
        &self,
        group: u32,
        make: impl FnOnce() -> Rc<dyn Intake>,
    ) -> Rc<dyn Intake> {
        Rc::clone(self.groups.borrow_mut()[group as usize].intake.get_or_insert_with(make))
    }

    fn intake(&self, group: u32) -> Option<Rc<dyn Intake>> {
        self.groups.borrow().get(group as usize)?.intake.clone()
    }

    /// Takes the position of the child that completed first.
    pub(crate) fn pop_completed(&self, group: u32) -> Option<u32> {
        self.groups.borrow_mut()[group as usize].completed.pop_front()
    }

    /// Registers a waker for the next completion, or for the next vacancy.
    pub(crate) fn register(
        &self,
        group: u32,
        event: GroupEvent,
        key: &mut WakerKey,
        waker: &Waker,
    ) {
        if self.groups.borrow_mut()[group as usize].wakers(event).is_registered(key, waker) {
            return;
        }
        // Cloning and dropping may run any code, so both happen outside the borrow.
        let waker = clone_waker(waker);
        let replaced = self.groups.borrow_mut()[group as usize].wakers(event).register(key, waker);
        drop(replaced);
    }

    /// Removes the waker of a future that does not wait any more.
    pub(crate) fn cancel_wait(&self, group: u32, event: GroupEvent, key: &mut WakerKey) {
        let mut groups = self.groups.borrow_mut();
        let waker =
            groups.get_mut(group as usize).and_then(|state| state.wakers(event).remove(key));
        drop(groups);
        panics::ignore(|| drop(waker));
    }

    /// Records that the child at `index` has completed, and wakes the futures that wait for it. If
    /// the group discards outcomes, returns the child, which the group does not contain any more.
    pub(super) fn child_completed(&self, group: u32, index: u32) -> Option<NodeKey> {
        let mut groups = self.groups.borrow_mut();
        // The group may have been dropped before its child completed.
        let state = groups.get_mut(group as usize)?;
        let Some(discarded) = &state.discarded else {
            state.completed.push_back(index);
            let waiters = state.waiters.take();
            drop(groups);
            waiters.wake_all();
            return None;
        };
        let child = discarded.remove(index);
        // `next` waits for the last child.
        let waiters = if discarded.len() == 0 { Some(state.waiters.take()) } else { None };
        let vacancy = state.vacancy.take();
        drop(groups);
        vacancy.wake_all();
        if let Some(waiters) = waiters {
            waiters.wake_all();
        }
        child
    }

    /// Wakes the futures that wait for a place, because a child was taken out of the group.
    pub(crate) fn child_removed(&self, group: u32) {
        let mut groups = self.groups.borrow_mut();
        let vacancy = groups.get_mut(group as usize).map(|state| state.vacancy.take());
        drop(groups);
        if let Some(vacancy) = vacancy {
            vacancy.wake_all();
        }
    }
}

/// An event of a group that a future waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// A child has completed.
    Completion,
    /// A child has left the group.
    Vacancy,
}

impl GroupState {
    fn wakers(&mut self, event: GroupEvent) -> &mut WakerSet {
        match event {
            GroupEvent::Completion => &mut self.waiters,
            GroupEvent::Vacancy => &mut self.vacancy,
        }
    }
}

/// Children of groups.
impl Domain {
    /// Requests the cancellation of a child in a group, which stays in the group. Returns whether
    /// the child was running.
    pub(crate) fn cancel_in_group(&self, child: NodeKey, cancelled: &Cancelled) -> bool {
        let is_running = self.tree.get(child).is_some_and(|node| !node.is_complete());
        if is_running {
            self.request_cancel(child.slot, cancelled);
        }
        is_running
    }

    /// Spawns the futures that were submitted to a group.
    pub(crate) fn start_submitted(&self, group: u32) {
        if let Some(intake) = self.groups.intake(group) {
            intake.start_submitted(self);
        }
    }

    /// Returns whether the owner of a group can still join children.
    pub(crate) fn may_get_children(&self, owner: NodeKey) -> bool {
        let Some(node) = self.tree.get(owner) else { return false };
        // fault: ending-owner-adopts
        node.stage.get() == Stage::Running && !node.cancel.is_some()
    }

    /// Calls `f`, which spawns a child of `owner`, with the deadline that the owner has inherited.
    pub(crate) fn with_context_of<R>(&self, owner: NodeKey, f: impl FnOnce(Slot) -> R) -> R {
        let deadline = inherited_deadline(&self.tree[owner.slot]);
        let outer = self.cancel.replace_deadline(deadline);
        let result = f(owner.slot);
        self.cancel.replace_deadline(outer);
        result
    }
}
