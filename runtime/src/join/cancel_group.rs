//! Cancelling children of a group.

use std::panic::Location;

use super::Orphans;
use crate::domain::Domain;
use crate::task::TaskId;

impl<T, E> Orphans<T, E> {
    /// Cancels the child with this id. Its outcome, which says so, is returned by
    /// [`next`](Orphans::next) when the child and its descendants have ended.
    ///
    /// Returns `false` if the group contains no such child, or if it is complete: its outcome is
    /// the value or failure that it had. The search takes time in proportion to the number of
    /// children. To wait for the end of one child, [`take`](Orphans::take) it out or keep its
    /// promise instead of putting it into a group.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{Orphans, RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let clients = Orphans::new();
    ///     let first = clients.spawn(pending::<()>());
    ///     clients.spawn(pending());
    ///     assert!(clients.cancel(first));
    ///     assert!(clients.next().await.unwrap().unwrap_err().is_cancelled());
    ///     assert_eq!((clients.len(), clients.cancel_all()), (1, 1));
    ///     assert!(clients.next().await.unwrap().unwrap_err().is_cancelled());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "abort")]
    #[track_caller]
    pub fn cancel(&self, id: TaskId) -> bool {
        self.cancel_those(Location::caller(), |child| child == id) > 0
    }

    /// Cancels all children of the group, and returns how many there were that had not completed.
    ///
    /// The group can be used further: [`next`](Orphans::next) returns the outcomes as the children
    /// end, and new children are not cancelled.
    #[doc(alias = "abort_all")]
    #[doc(alias = "shutdown")]
    #[track_caller]
    pub fn cancel_all(&self) -> usize {
        self.cancel_those(Location::caller(), |_| true)
    }

    #[track_caller]
    fn cancel_those(
        &self,
        at: &'static Location<'static>,
        is_meant: impl Fn(TaskId) -> bool,
    ) -> usize {
        let Some(owner) = self.group().owner().filter(|owner| self.check_owner(owner, at)) else {
            return 0;
        };
        Domain::with("cancelling children of a group", |domain| {
            // Submitted futures are children, and are cancelled as such.
            self.start_submitted(domain, &owner);
            let cancelled = domain.requested_reason(at, None);
            let children = self.group().children().into_iter().map(|child| child.entry);
            let meant = children.filter(|child| is_meant(child.id));
            // fault: group-cancels-nothing
            meant.filter(|&child| domain.cancel_in_group(child, &cancelled)).count()
        })
    }
}
