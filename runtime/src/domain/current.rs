//! The thread-local pointer to the domain that the current thread is running.

use std::cell::Cell;
use std::ptr;

use matou_hooks::Current;

use super::Domain;
use crate::task::{BlockedOn, WaitSite, WaitTarget};

thread_local! {
    static CURRENT: Cell<*const Domain> = const { Cell::new(ptr::null()) };
}

/// Makes a domain the current one until it is dropped, which restores the previous one.
pub(super) struct Entered<'a> {
    domain: &'a Domain,
    previous: *const Domain,
    previous_resource: u64,
    previous_task: Current,
}

impl Domain {
    /// Makes this the current domain of the thread.
    #[inline]
    pub(super) fn enter(&self) -> Entered<'_> {
        let previous_resource = matou_ownership::replace_id_source(self.next_resource.get());
        Entered {
            domain: self,
            previous: CURRENT.replace(self),
            previous_resource,
            previous_task: matou_hooks::replace_current(Current::NONE),
        }
    }

    /// Calls `f` with the current domain, if this thread is running one.
    // Always inlined: a call of this small frame would take half as long as waking a task.
    #[inline(always)]
    pub(crate) fn try_with<R>(f: impl FnOnce(&Domain) -> R) -> Option<R> {
        // The cell has no destructor, so this cannot fail. But a waker may be called anywhere, even
        // where a panic would abort the process, so nothing here can panic.
        let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
        if current.is_null() {
            return None;
        }
        // SAFETY: the pointer is not null only while an `Entered` of this thread exists, which
        // borrows the domain and restores the previous pointer when it is dropped. The closure runs
        // inside the frame that holds that guard, and the reference cannot escape through `R`,
        // which is independent of the reference's lifetime.
        Some(f(unsafe { &*current }))
    }

    /// Calls `f` with the current domain.
    ///
    /// # Panics
    ///
    /// If the thread is not inside a run. `what` names the function in the message.
    #[inline]
    #[track_caller]
    pub(crate) fn with<R>(what: &str, f: impl FnOnce(&Domain) -> R) -> R {
        match Domain::try_with(f) {
            Some(result) => result,
            None => panic_outside(what),
        }
    }

    /// Returns whether the current thread is inside a run.
    /// Returns whether the current thread is running a domain of this process.
    pub(crate) fn is_inside() -> bool {
        Domain::try_with(|domain| !domain.is_forked()).unwrap_or(false)
    }
}

#[cold]
#[track_caller]
fn panic_outside(what: &str) -> ! {
    assert!(
        !crate::blocking::in_job(),
        "{what} does not work inside a blocking job, which runs on a thread outside of the run: \
         return the value and go on in the task that awaits the job"
    );
    panic!("{what} works only inside a matou run, on one of its tasks")
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.previous);
        matou_hooks::replace_current(self.previous_task);
        let next = matou_ownership::replace_id_source(self.previous_resource);
        self.domain.next_resource.set(next);
    }
}

impl BlockedOn {
    /// Records what the current task waits for. Outside a run this does nothing.
    ///
    /// For leaf futures, right before they return `Pending`.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{BlockedOn, WaitSite, WaitTarget};
    ///
    /// BlockedOn::new(WaitSite::here("a reply"), WaitTarget::Unknown).note();
    /// ```
    pub fn note(self) {
        Domain::try_with(|domain| domain.set_blocked_on(self));
    }
}

impl WaitSite {
    /// Records that the current task waits here, for a target that is not known.
    ///
    /// Short for [`BlockedOn::note`] with [`WaitTarget::Unknown`].
    pub fn note(self) {
        BlockedOn::new(self, WaitTarget::Unknown).note();
    }
}
