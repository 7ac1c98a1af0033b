//! Functions by which a library of locks reports waits and holders, so that a deadlock names them.

use std::panic::Location;

use crate::domain::Domain;
use crate::simulation::LockHolder;
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// Records that the current task waits: for a lock, if `lock` is one.
///
/// A library of locks calls this function, [`note_acquired`] and [`note_released`], so that the
/// report of a [`Deadlock`](super::Deadlock) names the holder of each lock. They take plain types,
/// so that neither crate depends on the other. With `matou-sync`, once in a program or a test:
///
/// ```ignore
/// matou_sync::set_hooks(Hooks {
///     on_wait: test::note_wait,
///     on_acquire: test::note_acquired,
///     on_release: test::note_released,
/// });
/// ```
///
/// `lock` is a number that identifies the lock while it exists, such as its address. Outside a run
/// the functions do nothing; on real threads only the wait is recorded, without the lock.
pub fn note_wait(lock: Option<usize>, what: &'static str, at: &'static Location<'static>) {
    Domain::try_with(|domain| {
        let number = |lock| match domain.simulation() {
            Some(simulation) => simulation.locks.borrow_mut().number(lock),
            None => 0,
        };
        let target = lock.map_or(WaitTarget::Unknown, |lock| WaitTarget::Lock(number(lock)));
        domain.set_blocked_on(BlockedOn::new(WaitSite::new(what, at), target));
    });
}

/// Records that the current task has acquired `lock`; see [`note_wait`].
pub fn note_acquired(lock: usize, at: &'static Location<'static>) {
    set_holder(lock, Some(at));
}

/// Records that `lock` was released; see [`note_wait`].
pub fn note_released(lock: usize) {
    set_holder(lock, None);
}

fn set_holder(lock: usize, acquired_at: Option<&'static Location<'static>>) {
    Domain::try_with(|domain| {
        let Some(simulation) = domain.simulation() else { return };
        let task = domain.current_key().id;
        let holder = acquired_at.map(|acquired_at| LockHolder { task, acquired_at });
        simulation.locks.borrow_mut().set_holder(lock, holder);
    });
}
