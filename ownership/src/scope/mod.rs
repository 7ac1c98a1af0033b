//! Tasks with a ledger, under any executor.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use crate::background::{BackgroundFinalize, finalize_detached};
use crate::context::{in_task, ledger_or_new};
use crate::enter::enter;
use crate::error::NotOwner;
use crate::finalize::{FinalizeReport, FinalizeState};
use crate::ids::next_id;
use crate::info::OwnerInfo;
use crate::panic_message::polled_after_completion;
use crate::registry::Ledger;

mod error;

pub use error::ScopeError;

/// Runs `future` as a task with its own ledger, under any executor.
///
/// When the future ends, the resources that it still owns are settled, and then the scope
/// completes:
///
/// * In an enclosing scope or task, a resource whose handle is still alive passes to that task,
///   however the scope ends: the handle was returned, sent elsewhere or leaked. The next task that
///   uses it becomes its owner.
/// * All others are finalized, newest first: those whose handle was dropped, those that the scope
///   was [given](crate::give()), and all of a scope without an enclosing one. Of these, the ones
///   whose handle is alive at a normal end are leaks, and the scope returns an error.
///
/// So an outermost scope is where leaks are found. To move a resource from one outermost scope to
/// another, [`disown`](crate::disown()) it before it is sent, or run both in an enclosing scope.
///
/// The scope also returns an error if the future uses a resource of another task; the future is not
/// polled again afterwards. The resources that a scope [transfers](crate::transfer()) belong to the
/// enclosing scope when it ends. Without an enclosing scope they become unowned.
///
/// Synchronous finalizers run in the poll that ends the future. Because an executor may poll a
/// scope on different threads, finalization continues on a separate thread from the first
/// asynchronous finalizer on, and the scope waits for it.
///
/// # Panics
///
/// When polled, if `future` panics, after its resources are finalized; and if polled after
/// completion.
///
/// # Cancel safety
///
/// Dropping a scope ends it abnormally: `future` is dropped, and its resources are finalized before
/// the drop returns, newest first. From the first asynchronous finalizer on, finalization continues
/// on a separate thread. That thread is not joined: the process may exit before it completes, and
/// its panics reach only the panic hook.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, scope};
///
/// let outcome = futures::executor::block_on(scope(async {
///     let owned = Owned::new(vec![1, 2, 3], drop);
///     std::mem::forget(owned);
/// }));
/// let error = outcome.expect_err("the value was leaked");
/// assert_eq!(error.leaked()[0].resource.made_at.file(), file!());
/// ```
#[track_caller]
pub fn scope<F: Future>(future: F) -> Scope<F> {
    let stage = Stage::Running { future: Box::pin(future), ledger: None };
    Scope { stage, made_at: Location::caller() }
}

/// A future that runs another future with its own ledger. Returned by [`scope`](crate::scope()).
#[must_use = "futures do nothing unless polled"]
pub struct Scope<F: Future> {
    stage: Stage<F>,
    made_at: &'static Location<'static>,
}

enum Stage<F: Future> {
    /// The first poll creates the ledger.
    Running {
        future: Pin<Box<F>>,
        ledger: Option<Arc<Ledger>>,
    },
    /// The future is dropped, and asynchronous finalizers run.
    Finalizing {
        end: End<F::Output>,
        ledger: Arc<Ledger>,
        finalize: BackgroundFinalize,
    },
    Complete,
}

/// How the future of a scope ended.
enum End<T> {
    Value(T),
    NotOwner(NotOwner),
    Panic(Box<dyn Any + Send>),
}

// No field is structurally pinned: the future is boxed.
impl<F: Future> Unpin for Scope<F> {}

impl<F: Future> Future for Scope<F> {
    type Output = Result<F::Output, ScopeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let made_at = self.made_at;
        if let Stage::Running { future, ledger } = &mut self.stage {
            let ledger = Arc::clone(ledger.get_or_insert_with(|| new_ledger(made_at)));
            let entered = enter(Some(Arc::clone(&ledger)));
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
            let end = match (polled, ledger.take_not_owner()) {
                (Err(payload), _) => End::Panic(payload),
                (Ok(_), Some(error)) => End::NotOwner(error),
                (Ok(Poll::Ready(value)), None) => End::Value(value),
                (Ok(Poll::Pending), None) => return Poll::Pending,
            };
            let end = self.drop_future(end, &ledger);
            entered.leave();
            leave_to_enclosing(&ledger);
            if let Poll::Ready(result) = self.finalize(end, ledger) {
                return Poll::Ready(result);
            }
        }
        self.poll_finalizing(cx)
    }
}

impl<F: Future> Scope<F> {
    /// Drops the future with its ledger entered. A panic or an error of the drop replaces the
    /// value.
    fn drop_future(&mut self, end: End<F::Output>, ledger: &Ledger) -> End<F::Output> {
        let stage = std::mem::replace(&mut self.stage, Stage::Complete);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stage)));
        match (end, dropped, ledger.take_not_owner()) {
            (End::Panic(payload), ..) | (_, Err(payload), _) => End::Panic(payload),
            (End::NotOwner(error), ..) | (_, Ok(()), Some(error)) => End::NotOwner(error),
            (end @ End::Value(_), Ok(()), None) => end,
        }
    }

    /// Runs the synchronous finalizers, and starts a thread for the rest if one is asynchronous.
    fn finalize(
        &mut self,
        end: End<F::Output>,
        ledger: Arc<Ledger>,
    ) -> Poll<Result<F::Output, ScopeError>> {
        let mut state = FinalizeState::new(Arc::clone(&ledger));
        let report = if state.finish_unless_async() {
            state.take_report()
        } else {
            match BackgroundFinalize::spawn(state) {
                Ok(finalize) => {
                    self.stage = Stage::Finalizing { end, ledger, finalize };
                    return Poll::Pending;
                }
                Err(mut state) => state.finish_without_waiting(),
            }
        };
        deliver_transferred(&ledger);
        Poll::Ready(into_result(end, report))
    }

    fn poll_finalizing(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Output, ScopeError>> {
        let Stage::Finalizing { finalize, .. } = &mut self.stage else {
            polled_after_completion("`Scope`", self.made_at);
        };
        let Poll::Ready(report) = Pin::new(finalize).poll(cx) else {
            return Poll::Pending;
        };
        match std::mem::replace(&mut self.stage, Stage::Complete) {
            Stage::Finalizing { end, ledger, .. } => {
                deliver_transferred(&ledger);
                Poll::Ready(into_result(end, report))
            }
            Stage::Running { .. } | Stage::Complete => unreachable!("checked above"),
        }
    }
}

fn new_ledger(made_at: &'static Location<'static>) -> Arc<Ledger> {
    let ledger = Ledger::new();
    ledger.set_owner(OwnerInfo { id: next_id(), name: Some("scope".into()), made_at });
    ledger
}

/// Leaves the resources that outlive a scope to the enclosing scope, if there is one.
fn leave_to_enclosing(ledger: &Arc<Ledger>) {
    if in_task() {
        ledger.leave_to_parent();
    }
}

/// Makes the enclosing scope, if any, the owner of the transferred resources.
fn deliver_transferred(ledger: &Ledger) {
    let transferred = ledger.take_transferred();
    if transferred.is_empty() {
        return;
    }
    if let Some(enclosing) = ledger_or_new() {
        enclosing.receive(transferred);
    }
}

fn into_result<T>(end: End<T>, report: FinalizeReport) -> Result<T, ScopeError> {
    let not_owner = match end {
        End::Panic(payload) => resume_unwind(payload),
        End::NotOwner(error) => Some(error),
        End::Value(value) => {
            let FinalizeReport { leaked, panicked, unfinished, .. } = &report;
            if leaked.is_empty() && panicked.is_empty() && unfinished.is_empty() {
                return Ok(value);
            }
            None
        }
    };
    Err(ScopeError::new(not_owner, report))
}

impl<F: Future> Drop for Scope<F> {
    fn drop(&mut self) {
        let ledger = match &mut self.stage {
            Stage::Running { ledger, .. } => ledger.take(),
            // The thread continues to finalize. Deliver here, in the enclosing scope.
            Stage::Finalizing { ledger, .. } => return deliver_transferred(ledger),
            Stage::Complete => return,
        };
        // Enter even without a ledger: the drop of a future that was never polled may own
        // resources.
        let entered = enter(ledger);
        let stage = std::mem::replace(&mut self.stage, Stage::Complete);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stage)));
        if let Some(ledger) = entered.leave() {
            leave_to_enclosing(&ledger);
            finalize_detached(Arc::clone(&ledger));
            deliver_transferred(&ledger);
        }
        if let Err(payload) = dropped
            && !thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

impl<F: Future> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("made_at", &self.made_at).finish_non_exhaustive()
    }
}
