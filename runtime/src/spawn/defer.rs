//! Futures that run when their task ends.

use std::future::Future;
use std::sync::Arc;

use matou_ownership::{FinalizeStatus, Resource, Ticket};

use crate::domain::Domain;

/// Runs `future` when the current task ends, also if it fails, panics or is cancelled.
///
/// It is an asynchronous finalizer like that of
/// [`Owned::with_async`](matou_ownership::Owned::with_async). It runs on the task's domain, after
/// the task's own future is dropped and before the parent receives the outcome. Finalizers run in
/// the reverse order in which the task acquired its resources. It is not cancelled, but all
/// finalizers of a task together have only the run's grace period; those that do not complete
/// within it are dropped and reported. It may wait, but neither spawn nor own resources.
///
/// # Panics
///
/// Outside a task, and in a finalizer.
///
/// # Examples
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use matou_runtime::{RunError, defer, run, try_spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let log = Rc::new(RefCell::new(Vec::new()));
///     let append = |word: &'static str| {
///         let log = Rc::clone(&log);
///         async move {
///             yield_now().await;
///             log.borrow_mut().push(word);
///         }
///     };
///     let (first, second) = (append("first"), append("second"));
///     let child = try_spawn(async move {
///         defer(first);
///         defer(second);
///         Err::<(), _>("it fails")
///     });
///     assert!(child.await.is_err());
///     assert_eq!(*log.borrow(), ["second", "first"]);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "AsyncDrop")]
#[doc(alias = "scopeguard")]
#[track_caller]
pub fn defer(future: impl Future<Output = ()> + 'static) {
    let ticket = Ticket::new("deferred future");
    let has_task = Domain::with("`defer`", Domain::has_current);
    assert!(has_task, "`defer` needs a task, at whose end the future is to run");
    let id = ticket.id();
    let deferred: Arc<dyn Resource> = Arc::new(Deferred { ticket });
    // Owned first: this panics in a finalizer, and then the future is not stored.
    matou_ownership::own(&deferred);
    Domain::with("`defer`", |domain| domain.deferred().insert(id, Box::pin(future)));
    // The program has no handle to release, so owning it at the end is not a leak.
    matou_ownership::defer(&deferred);
}

/// The entry of a deferred future in its task's ledger. The future itself is stored in its domain,
/// because it need not be `Send`.
struct Deferred {
    ticket: Ticket,
}

impl Resource for Deferred {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        let id = self.ticket.id();
        let future = Domain::try_with(|domain| domain.deferred().remove(id)).flatten();
        // fault: deferred-future-lost
        future.map_or(FinalizeStatus::Done, FinalizeStatus::Pending)
    }

    fn is_async(&self) -> bool {
        true
    }
}
