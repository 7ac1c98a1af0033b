//! Finalizers that are due before the end of their owner.
//!
//! The finalizer of a resource that has outlived an owner runs when its handle is dropped. If it is
//! asynchronous, the drop cannot wait for it, and the owner may be a task that runs for days. The
//! ledger lists such resources, and asks the runtime to finalize them.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ledger::{Ledger, List};
use super::resource::Resource;
use crate::held_locks::assert_none_held;

/// Finalizes resources of a task while the task is running.
///
/// For runtimes. See [`Ledger::set_finalizer_service`].
pub trait FinalizerService: Send + Sync {
    /// The ledger has resources to [take](Ledger::take_due) and to finalize.
    ///
    /// Any thread may call this, inside the drop of a handle and holding no lock of this crate. It
    /// should wake the thread that finalizes, not finalize by itself. Resources that are not taken
    /// are finalized at the owner's end.
    fn finalizers_due(&self);
}

/// The due resources of a ledger, and the service that finalizes them.
#[derive(Default)]
pub(super) struct Due {
    resources: Vec<Arc<dyn Resource>>,
    service: Option<Arc<dyn FinalizerService>>,
}

impl Ledger {
    /// Sets the service that finalizes resources of this ledger while its task is running.
    ///
    /// A runtime sets one when the task inherits resources, and when
    /// [`needs_finalizer_service`](Ledger::needs_finalizer_service) says so after a poll. Without a
    /// service these resources are finalized at the owner's end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use matou_ownership::{FinalizerService, Ledger, Owned, enter};
    ///
    /// #[derive(Default)]
    /// struct Flag(AtomicBool);
    ///
    /// impl FinalizerService for Flag {
    ///     fn finalizers_due(&self) {
    ///         self.0.store(true, Ordering::SeqCst);
    ///     }
    /// }
    ///
    /// let (child, parent, flag) = (Ledger::new(), Ledger::new(), Arc::new(Flag::default()));
    /// let entered = enter(Some(child.clone()));
    /// let owned = Owned::with_async(1, |_| async {});
    /// entered.leave();
    /// child.leave_to_parent();
    /// parent.receive(child.take_transferred());
    /// parent.set_finalizer_service(flag.clone());
    ///
    /// drop(owned);
    /// assert!(flag.0.load(Ordering::SeqCst));
    /// let due = parent.take_due().expect("the handle was dropped");
    /// let report = futures::executor::block_on(due.finalize_all());
    /// assert_eq!(report.finalized.len(), 1);
    /// ```
    pub fn set_finalizer_service(&self, service: Arc<dyn FinalizerService>) {
        self.needs_service.store(false, Ordering::Relaxed);
        let mut inner = self.lock();
        let due = &mut inner.cold_mut().due;
        let is_due = !due.resources.is_empty();
        let _previous = due.service.replace(Arc::clone(&service));
        // Unlock before calling the service.
        drop(inner);
        if is_due {
            assert_none_held();
            service.finalizers_due();
        }
    }

    /// Returns `true` if the task has become the owner of a resource that had outlived another
    /// owner, and the ledger has no [service](Ledger::set_finalizer_service).
    ///
    /// For runtimes, which ask after a poll if [`take_ledger_flag`](crate::take_ledger_flag)
    /// returned `true`.
    pub fn needs_finalizer_service(&self) -> bool {
        self.needs_service.load(Ordering::Relaxed)
    }

    /// Takes one of the resources whose finalizers are due, in a ledger of its own that describes
    /// the same owner. The caller must [finalize](Ledger::finalize_all) that ledger.
    ///
    /// See [`set_finalizer_service`](Ledger::set_finalizer_service) for an example.
    pub fn take_due(self: &Arc<Self>) -> Option<Arc<Ledger>> {
        loop {
            let resource = self.lock().cold.as_mut()?.due.resources.pop()?;
            let ledger = Ledger::new();
            if let Some(owner) = self.owner() {
                ledger.set_owner(owner.clone());
            }
            let _moved;
            let mut locked = resource.ticket().lock();
            // Skip a resource that was moved or finalized since its handle was dropped.
            if locked.is_owned_by(self) && locked.is_deferred() {
                _moved = locked.move_to(&resource, Arc::clone(&ledger), List::Owned);
                return Some(ledger);
            }
        }
    }

    /// Adds a resource whose finalizer is due, and notifies the service.
    pub(crate) fn add_due(&self, resource: Arc<dyn Resource>) {
        let mut inner = self.lock();
        let due = &mut inner.cold_mut().due;
        due.resources.push(resource);
        // The service takes all that are due, so it is notified of the first.
        let service = due.service.clone().filter(|_| due.resources.len() == 1);
        drop(inner);
        // fault: due-finalizer-waits
        if let Some(service) = service {
            assert_none_held();
            service.finalizers_due();
        }
    }

    /// Drops the list of due resources. They are finalized at the owner's end, which has begun.
    pub(crate) fn clear_due(&self) {
        let due = self.lock().cold.as_mut().map(|cold| mem::take(&mut cold.due));
        drop(due);
    }

    /// Records that the task owns a resource that had outlived another owner.
    pub(crate) fn request_service(&self) {
        let has_service = self.lock().cold.as_ref().is_some_and(|cold| cold.due.service.is_some());
        self.needs_service.store(!has_service, Ordering::Relaxed);
    }
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Due").field("resources", &self.resources.len()).finish_non_exhaustive()
    }
}
