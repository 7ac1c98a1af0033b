//! Groups of children: the domain's half of each [`Orphans`](crate::Orphans).

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use slab::Slab;

use super::Domain;
use super::shield::inherited_deadline;
use crate::locks::clone_waker;
use crate::panics;
use crate::task::{NodeKey, Slot, Stage};
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
    /// Set if the group has a spawner.
    intake: Option<Rc<dyn Intake>>,
}

impl Groups {
    /// Adds a group and returns its number.
    pub(crate) fn insert(&self) -> u32 {
        self.groups.borrow_mut().insert(GroupState::default()) as u32
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

    /// Registers a waker for the next completion.
    pub(crate) fn register(&self, group: u32, key: &mut WakerKey, waker: &Waker) {
        if self.groups.borrow()[group as usize].waiters.is_registered(key, waker) {
            return;
        }
        // Cloning and dropping may run any code, so both happen outside the borrow.
        let waker = clone_waker(waker);
        let replaced = self.groups.borrow_mut()[group as usize].waiters.register(key, waker);
        drop(replaced);
    }

    /// Removes the waker of a future that does not wait any more.
    pub(crate) fn cancel_wait(&self, group: u32, key: &mut WakerKey) {
        let mut groups = self.groups.borrow_mut();
        let waker = groups.get_mut(group as usize).and_then(|state| state.waiters.remove(key));
        drop(groups);
        panics::ignore(|| drop(waker));
    }

    /// Records that the child at `index` has completed, and wakes the futures that wait for it.
    pub(super) fn child_completed(&self, group: u32, index: u32) {
        let waiters = match self.groups.borrow_mut().get_mut(group as usize) {
            Some(state) => {
                state.completed.push_back(index);
                state.waiters.take()
            }
            // The group was dropped before its child completed.
            None => return,
        };
        waiters.wake_all();
    }
}

/// Children that are submitted to a group.
impl Domain {
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
