//! Delivery of transferred resources from the ledger of a child to that of its parent.

use std::sync::Arc;

use super::ledger::{Entry, Ledger, List};
use super::resource::Resource;
use super::ticket::Place;

impl Ledger {
    /// Marks every resource owned here as [transferred](crate::transfer()) to the parent, oldest
    /// first. A runtime calls it for tasks whose parent inherits all their resources.
    ///
    /// A resource whose handle is dropped and whose asynchronous finalizer waits for the owner's
    /// end stays here.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Ledger, Owned, enter};
    ///
    /// let (child, parent) = (Ledger::new(), Ledger::new());
    /// let entered = enter(Some(child.clone()));
    /// let _owned = Owned::new(1, drop);
    /// entered.leave();
    /// child.transfer_all();
    /// parent.receive(child.take_transferred());
    /// assert_eq!((child.len(), parent.len()), (0, 1));
    /// ```
    pub fn transfer_all(self: &Arc<Self>) {
        for resource in self.owned_newest_first().into_iter().rev() {
            let _moved;
            let mut locked = resource.ticket().lock();
            // Skip a resource that another thread has moved or finalized since it was listed.
            if locked.is_owned_by(self) && !locked.is_deferred() {
                _moved = locked.move_to(&resource, Arc::clone(self), List::Transferred);
            }
        }
    }

    /// Takes the [transferred](crate::transfer()) resources, in order of transfer.
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
                _detached = locked.detach();
                drop(locked);
                transferred.push(resource);
            }
        }
        transferred
    }

    /// Becomes the owner of resources that a child transferred. Skips a resource that was finalized
    /// or has found another owner since it was taken from the child.
    pub fn receive(self: &Arc<Self>, transferred: Vec<Arc<dyn Resource>>) {
        for resource in transferred {
            let _moved;
            let mut locked = resource.ticket().lock();
            if matches!(locked.place(), Place::Unowned) {
                _moved = locked.move_to(&resource, Arc::clone(self), List::Owned);
            }
        }
    }

    fn oldest_transferred(&self) -> Option<Arc<dyn Resource>> {
        let inner = self.lock();
        inner.cold.as_ref()?.transferred.oldest().map(Entry::clone_resource)
    }
}
