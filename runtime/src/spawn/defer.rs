//! Finalizers of a task itself.

use std::future::Future;
use std::sync::Arc;

use matou_ownership::{FinalizeStatus, Resource, Ticket};

use crate::domain::Domain;

/// Runs `future` when the current task ends, however it ends.
///
/// It is an asynchronous finalizer like that of
/// [`Owned::with_async`](matou_ownership::Owned::with_async): it runs after the task's own future
/// is dropped, in the order in which the task came to own things, newest first, on the task's
/// domain, and the parent sees the outcome only after it. It is not cancelled. But all of a task's
/// finalizers together have only the run's grace period; what is not done by then is dropped and
/// reported. It can wait, but neither spawn nor own.
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
///     let told = Rc::new(RefCell::new(Vec::new()));
///     let tell = |word: &'static str| {
///         let told = Rc::clone(&told);
///         async move {
///             yield_now().await;
///             told.borrow_mut().push(word);
///         }
///     };
///     let (first, second) = (tell("first"), tell("second"));
///     let child = try_spawn(async move {
///         defer(first);
///         defer(second);
///         Err::<(), _>("it fails")
///     });
///     assert!(child.await.is_err());
///     assert_eq!(*told.borrow(), ["second", "first"]);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn defer(future: impl Future<Output = ()> + 'static) {
    let ticket = Ticket::new("deferred future");
    Domain::with("`defer`", |domain| {
        assert!(domain.has_current(), "`defer` needs a task, at whose end the future is to run");
        let id = ticket.id();
        let deferred: Arc<dyn Resource> = Arc::new(Deferred { ticket });
        // Owned first: in a finalizer that panics, and then nothing stays behind.
        matou_ownership::own(&deferred);
        domain.deferred().insert(id, Box::pin(future));
        // Nobody has a handle, so it is no leak that it is still owned at the end.
        matou_ownership::defer(&deferred);
    });
}

/// What a ledger knows of a deferred future. The future itself is bound to its domain, and is kept
/// there.
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
