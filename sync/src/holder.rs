//! Which task holds a mutex, for diagnosis.
//!
//! The note is not synchronized with the lock. A task that reads it while another one locks or
//! unlocks may read a holder of a moment ago, or none. The holder itself always reads its own note,
//! so a task that waits for itself is recognized.

use std::panic::Location;
use std::ptr;
// std's types also under loom and shuttle: the note decides nothing, and modelling it would only
// multiply the schedules to explore.
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

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

    fn task(&self) -> Option<TaskKey> {
        let [high, low] = &self.task;
        TaskKey::from_parts(high.load(Ordering::Relaxed), low.load(Ordering::Relaxed))
    }
}
