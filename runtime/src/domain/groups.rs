//! Groups of children: the domain's half of each [`Orphans`](crate::Orphans).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use slab::Slab;

use crate::panics;
use crate::waker_set::WakerSet;

/// The groups of a domain, each by its number.
#[derive(Default)]
pub(crate) struct Groups {
    groups: RefCell<Slab<GroupState>>,
}

/// Which children of a group have completed.
#[derive(Debug, Default)]
struct GroupState {
    /// The positions of the completed children in the group, in the order of completion. A child
    /// that was taken out of the group may still be listed.
    completed: VecDeque<u32>,
    /// The wakers of the futures that wait for the next completion.
    waiters: WakerSet,
}

impl Groups {
    /// Adds a group and returns its number.
    pub(crate) fn insert(&self) -> u32 {
        self.groups.borrow_mut().insert(GroupState::default()) as u32
    }

    /// Removes a group, if it is still there.
    pub(crate) fn remove(&self, group: u32) {
        let state = self.groups.borrow_mut().try_remove(group as usize);
        // Dropping a waker may run any code, so it is dropped outside the borrow.
        panics::ignore(|| drop(state));
    }

    /// Drops the groups that are left at the end of the run, which were leaked.
    pub(super) fn clear(&self) {
        let groups = self.groups.take();
        panics::drop_each(groups.into_iter().map(|(_, state)| state));
    }

    /// Takes the position of the child that completed first.
    pub(crate) fn pop_completed(&self, group: u32) -> Option<u32> {
        self.groups.borrow_mut()[group as usize].completed.pop_front()
    }

    /// Registers a waker for the next completion.
    pub(crate) fn register(&self, group: u32, waker: &Waker) {
        let is_known = self.groups.borrow()[group as usize].waiters.contains(waker);
        if is_known {
            return;
        }
        // Cloning and waking may run any code, so both happen outside the borrow.
        let waker = waker.clone();
        let evicted = self.groups.borrow_mut()[group as usize].waiters.insert(waker);
        evicted.wake_all();
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
