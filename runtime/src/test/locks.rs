//! Who holds which lock, as far as somebody says so.

use std::collections::HashMap;
use std::panic::Location;

use crate::domain::Domain;
use crate::task::TaskId;
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// The locks of a simulated run, by what names them while they are there.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    known: HashMap<usize, Lock>,
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    /// Counted up, so that reports need no addresses.
    number: u64,
    holder: Option<Holder>,
}

/// Who holds a lock, and since which line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) task: TaskId,
    pub(super) at: &'static Location<'static>,
}

impl Locks {
    fn lock(&mut self, name: usize) -> &mut Lock {
        let number = self.known.len() as u64 + 1;
        self.known.entry(name).or_insert(Lock { number, holder: None })
    }

    /// Returns who holds the lock of that number.
    pub(super) fn holder(&self, number: u64) -> Option<Holder> {
        self.known.values().find(|lock| lock.number == number)?.holder
    }
}

/// Notes that the current task waits, for a lock if one is named.
///
/// This and the next two are what a library of locks calls, so that a report of a
/// [`Deadlock`](super::Deadlock) names who holds what. They take plain types, so that neither crate
/// need know the other. With `matou-sync`, once in a program or a test:
///
/// ```ignore
/// matou_sync::set_hooks(Hooks {
///     on_wait: test::note_wait,
///     on_acquire: test::note_acquired,
///     on_release: test::note_released,
/// });
/// ```
///
/// A lock is named by a number that is its own while it is there, such as its address. Outside a
/// run nothing happens, in a run on real threads only the wait itself is noted.
pub fn note_wait(lock: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    let known = |domain: &Domain, lock| {
        let mut locks = domain.world()?.locks.borrow_mut();
        Some(locks.lock(lock).number)
    };
    Domain::try_with(|domain| {
        let target = lock.map_or(WaitTarget::Unknown, |lock| {
            WaitTarget::Lock(known(domain, lock).unwrap_or_default())
        });
        domain.set_blocked_on(BlockedOn::new(WaitSite::new(what, at), target));
    });
}

/// Notes that the current task has locked `lock`; see [`note_wait`].
pub fn note_acquired(lock: usize, at: &'static Location<'static>) {
    set_holder(lock, Some(at));
}

/// Notes that `lock` was unlocked; see [`note_wait`].
pub fn note_released(lock: usize) {
    set_holder(lock, None);
}

fn set_holder(lock: usize, at: Option<&'static Location<'static>>) {
    Domain::try_with(|domain| {
        let Some(world) = domain.world() else { return };
        let task = domain.current_key().id;
        world.locks.borrow_mut().lock(lock).holder = at.map(|at| Holder { task, at });
    });
}
