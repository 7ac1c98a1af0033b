//! Delivery of resources from the ledger of a child to that of its parent: of those that the child
//! transferred, and of those whose handles outlive the child.

use std::sync::Arc;

use super::ledger::{Entry, Ledger};
use super::resource::Resource;
use super::ticket::Place;
use crate::info::ResourceInfo;

impl Ledger {
    /// Leaves the resources that outlive this ledger's task to its parent, oldest first.
    ///
    /// A runtime calls it when the task has ended, however it has ended: after the task's future is
    /// dropped and before the ledger is [finalized](Ledger::finalize_all). The handle of a resource
    /// that is still owned then is alive in another place, or was leaked. The parent
    /// [receives](Ledger::receive) the resource as *inherited*: the next task that uses it becomes
    /// its owner.
    ///
    /// Two kinds of resources stay here and are finalized: those whose handle is dropped and whose
    /// asynchronous finalizer waits for the owner's end, and those that were [given](crate::give())
    /// to the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Ledger, Owned, enter};
    ///
    /// let (child, parent) = (Ledger::new(), Ledger::new());
    /// let entered = enter(Some(child.clone()));
    /// let owned = Owned::new(1, drop);
    /// entered.leave();
    /// child.leave_to_parent();
    /// parent.receive(child.take_transferred());
    /// assert_eq!((child.len(), parent.len()), (0, 1));
    /// drop(owned);
    /// assert!(parent.is_empty());
    /// ```
    #[doc(alias = "transfer_all")]
    pub fn leave_to_parent(self: &Arc<Self>) {
        for resource in self.owned_newest_first().into_iter().rev() {
            let _moved;
            let mut locked = resource.ticket().lock();
            // Skip a resource that another thread has moved or finalized since it was listed.
            // fault: given-is-inherited
            let stays = locked.is_given() || locked.is_deferred();
            if locked.is_owned_by(self) && !stays {
                _moved = locked.leave_to_parent(&resource, self);
            }
        }
    }

    /// Becomes the owner of the resources that this ledger's task has transferred or left to a
    /// parent that does not exist. A runtime calls it at the end of the root task, before it
    /// finalizes the ledger.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Ledger, Owned, enter, transfer};
    ///
    /// let root = Ledger::new();
    /// let entered = enter(Some(root.clone()));
    /// let owned = Owned::new(1, drop);
    /// transfer(&owned)?;
    /// entered.leave();
    /// root.take_back_transferred();
    /// assert_eq!(root.len(), 1);
    /// # drop(owned);
    /// # Ok::<(), matou_ownership::AccessError>(())
    /// ```
    pub fn take_back_transferred(self: &Arc<Self>) {
        self.receive(self.take_transferred());
    }

    /// Takes the resources that were [transferred](crate::transfer()) or
    /// [left](Ledger::leave_to_parent) to the parent, in that order.
    ///
    /// They are unowned until the parent [receives](Ledger::receive) them or another task uses
    /// them. A runtime calls it once, after the task has completed.
    #[must_use = "the resources are unowned until they are received"]
    pub fn take_transferred(&self) -> Vec<Arc<dyn Resource>> {
        let mut transferred = Vec::new();
        while let Some(resource) = self.oldest_transferred() {
            let _detached;
            let mut locked = resource.ticket().lock();
            // Another thread may have taken it between the two locks.
            // fault: transferred-and-taken
            if locked.is_in_transit_from(self) {
                _detached = locked.detach_for_parent();
                drop(locked);
                transferred.push(resource);
            }
        }
        transferred
    }

    /// Becomes the owner of resources that a child transferred or left. Skips a resource that was
    /// finalized or has found another owner since it was taken from the child.
    ///
    /// Returns one resource of each line that made more than 1,000 of the living resources which
    /// this ledger's task has inherited and no task has used since, when that happens for the first
    /// time: they accumulate.
    pub fn receive(self: &Arc<Self>, transferred: Vec<Arc<dyn Resource>>) -> Vec<ResourceInfo> {
        let mut accumulated = Vec::new();
        if !transferred.is_empty() {
            self.request_service();
        }
        for resource in transferred {
            let moved;
            let mut locked = resource.ticket().lock();
            if !matches!(locked.place(), Place::Unowned) {
                continue;
            }
            moved = locked.receive(&resource, Arc::clone(self));
            // Its handle was dropped while the resource was in transit.
            let is_due = locked.is_deferred() && locked.has_outlived_owner();
            drop(locked);
            if moved.accumulated {
                accumulated.push(resource.ticket().info());
            }
            if is_due {
                self.add_due(Arc::clone(&resource));
            }
        }
        accumulated
    }

    fn oldest_transferred(&self) -> Option<Arc<dyn Resource>> {
        let inner = self.lock();
        inner.cold.as_ref()?.transferred.oldest().map(Entry::clone_resource)
    }
}
