//! Which task holds a mutex, or uses one end of a queue, for diagnosis.
//!
//! The note is not synchronized with the lock. A task that reads it while another one locks or
//! unlocks may read a holder of a moment ago, or none. The holder itself always reads its own note,
//! so a task that waits for itself is recognized.

use std::panic::Location;
use std::ptr;
// std's types also under loom and shuttle: the note decides nothing, and modelling it would only
// multiply the schedules to explore.
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use matou_hooks::{Holder, TaskKey};

/// Describes the current holder of a lock.
pub(crate) struct HolderNote {
    /// The task that locked, as two numbers; zeros if no task of a host did.
    task: [AtomicU64; 2],
    /// The call that locked. Null while the lock is free. Written last, cleared first.
    location: AtomicPtr<Location<'static>>,
}

impl HolderNote {
    pub(crate) const fn new() -> Self {
        Self {
            task: [AtomicU64::new(0), AtomicU64::new(0)],
            location: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Records the new holder. Called directly after locking.
    #[inline]
    pub(crate) fn set(&self, holder: Holder) {
        let (high, low) = holder.task.map_or((0, 0), TaskKey::into_parts);
        self.task[0].store(high, Ordering::Relaxed);
        self.task[1].store(low, Ordering::Relaxed);
        // Pairs with the load in `location`: a thread that reads this location also reads this
        // task, or that of a later holder.
        self.location.store(ptr::from_ref(holder.at).cast_mut(), Ordering::Release);
    }

    /// Clears the note. Called directly before unlocking.
    #[inline]
    pub(crate) fn clear(&self) {
        // Relaxed is enough: the release store that unlocks publishes it.
        self.location.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The call that locked, or `None` if the note is not complete.
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        let location = self.location.load(Ordering::Acquire);
        // SAFETY: `new` and `clear` store null here and `set` stores a pointer made from a
        // `&'static Location<'static>`; nothing else writes to this private field.
        unsafe { location.as_ref() }
    }

    /// The holder, or `None` if the note is not complete or changes at this moment.
    pub(crate) fn get(&self) -> Option<Holder> {
        let at = self.location()?;
        let task = self.task();
        // Read again: the note may have been overwritten between the reads of its three fields.
        let unchanged = self.location().is_some_and(|location| ptr::eq(location, at));
        (unchanged && self.task() == task).then_some(Holder::new(task, at))
    }

    /// Returns whether the note is complete and names that task.
    #[inline]
    fn names(&self, task: Option<TaskKey>) -> bool {
        !self.location.load(Ordering::Acquire).is_null() && self.task() == task
    }

    fn task(&self) -> Option<TaskKey> {
        let [high, low] = &self.task;
        TaskKey::from_parts(high.load(Ordering::Relaxed), low.load(Ordering::Relaxed))
    }
}

/// The task that uses one end of a queue, as long as it is the only one.
///
/// If a task waits at the other end, no other task is known that could end the wait. Such a task
/// may exist: it has a reference to the queue and has not used this end yet.
pub(crate) struct OnlyUser {
    first: HolderNote,
    /// A second task has used the end, which is remembered forever.
    several: AtomicBool,
}

impl OnlyUser {
    pub(crate) const fn new() -> Self {
        Self { first: HolderNote::new(), several: AtomicBool::new(false) }
    }

    /// Records that a task used the end. `task` is not called if that makes no difference.
    #[inline]
    pub(crate) fn record(
        &self,
        task: impl FnOnce() -> Option<TaskKey>,
        at: &'static Location<'static>,
    ) {
        if self.several.load(Ordering::Relaxed) {
            return;
        }
        let task = task();
        if !self.first.names(task) {
            self.record_other(Holder::new(task, at));
        }
    }

    #[cold]
    fn record_other(&self, user: Holder) {
        match self.first.location() {
            None => self.first.set(user),
            Some(_) => self.several.store(true, Ordering::Relaxed),
        }
    }

    /// The only task that has used the end, and its first use.
    pub(crate) fn get(&self) -> Option<Holder> {
        let several = self.several.load(Ordering::Relaxed);
        if several { None } else { self.first.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_one_user_until_another_one_comes() {
        let (user, at) = (OnlyUser::new(), Location::caller());
        assert_eq!(user.get(), None);
        let [first, second] = [1, 2].map(|task| TaskKey::from_parts(7, task));
        (0..2).for_each(|_| user.record(|| first, at));
        assert_eq!(user.get(), Some(Holder::new(first, at)));
        user.record(|| second, at);
        assert_eq!(user.get(), None);
        user.record(|| unreachable!("nothing is recorded any more"), at);
        // A thread outside any task is a user, too.
        let user = OnlyUser::new();
        user.record(|| None, at);
        assert_eq!(user.get(), Some(Holder::new(None, at)));
        user.record(|| first, at);
        assert_eq!(user.get(), None);
    }
}
