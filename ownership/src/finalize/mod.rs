//! Finalizing the resources that a ledger still owns at the end of its task.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::info::ResourceInfo;
use crate::panic_message::polled_after_completion;
use crate::registry::Ledger;

mod report;
mod state;

pub use report::{FinalizeReport, Leak};
pub(crate) use state::{FinalizeState, LocalFuture};

/// A future that finalizes the resources of a ledger, newest first, each exactly once.
///
/// Returned by [`Ledger::finalize_all`]. A poll runs synchronous finalizers one after the other
/// until it reaches an asynchronous one, which must complete before the next finalizer starts. A
/// panic of a finalizer is caught and reported, and the remaining finalizers still run.
///
/// While a finalizer runs, the ledger is the current one and the thread is
/// [in a finalizer](crate::in_finalizer()). A resource that enters the ledger in the meantime is
/// finalized too. Afterwards the ledger is closed.
///
/// # Panics
///
/// If polled after completion.
///
/// # Cancel safety
///
/// Dropping the future has the effect of
/// [`finish_without_waiting`](FinalizeAll::finish_without_waiting), without the report.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Ledger, Owned, enter};
///
/// let ledger = Ledger::new();
/// let entered = enter(Some(ledger.clone()));
/// std::mem::forget(Owned::with_async(1, |_| async {}));
/// entered.leave();
/// let report = futures::executor::block_on(ledger.finalize_all());
/// assert_eq!(report.leaked.len(), 1);
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct FinalizeAll {
    state: FinalizeState,
    /// The asynchronous finalizer that is being polled.
    running: Option<(ResourceInfo, LocalFuture)>,
    is_complete: bool,
    created_at: &'static Location<'static>,
}

impl Ledger {
    /// Finalizes the resources that are still owned, newest first, each exactly once.
    ///
    /// The task's future must be dropped before. See [`FinalizeAll`].
    #[track_caller]
    pub fn finalize_all(self: &Arc<Self>) -> FinalizeAll {
        FinalizeAll::new(FinalizeState::new(Arc::clone(self)))
    }
}

impl FinalizeAll {
    #[track_caller]
    pub(crate) fn new(state: FinalizeState) -> FinalizeAll {
        FinalizeAll { state, running: None, is_complete: false, created_at: Location::caller() }
    }

    /// Returns the resources that are not finalized yet: the one whose asynchronous finalizer is
    /// running, and those whose finalizers have not started.
    pub fn unfinished(&self) -> Vec<ResourceInfo> {
        let running = self.running.iter().map(|(info, _)| info.clone());
        running.chain(self.state.remaining()).collect()
    }

    /// Completes the finalization without waiting, for example after a grace period.
    ///
    /// The asynchronous finalizer that is running is dropped. The synchronous finalizers run,
    /// newest first. Each remaining asynchronous finalizer is polled once, and dropped if it does
    /// not complete.
    pub fn finish_without_waiting(mut self) -> FinalizeReport {
        self.finish()
    }

    fn finish(&mut self) -> FinalizeReport {
        self.is_complete = true;
        if let Some((info, future)) = self.running.take() {
            self.state.drop_unfinished(info, future);
        }
        self.state.finish_without_waiting()
    }
}

impl Future for FinalizeAll {
    type Output = FinalizeReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FinalizeReport> {
        let this = &mut *self;
        if this.is_complete {
            polled_after_completion("`FinalizeAll`", this.created_at);
        }
        loop {
            if let Some((info, future)) = &mut this.running {
                let polled = this.state.run(info, || future.as_mut().poll(cx));
                if polled.is_some_and(|polled| polled.is_pending()) {
                    return Poll::Pending;
                }
                // It has completed or panicked. Catch a panic of its destructor, too.
                if let Some((info, future)) = this.running.take() {
                    this.state.run(&info, move || drop(future));
                }
            }
            let Some(resource) = this.state.take_next() else {
                this.is_complete = true;
                return Poll::Ready(this.state.take_report());
            };
            let info = resource.ticket().info();
            this.running = this.state.finalize(resource).map(|future| (info, future));
        }
    }
}

impl Drop for FinalizeAll {
    fn drop(&mut self) {
        if !self.is_complete {
            self.finish();
        }
    }
}

impl fmt::Debug for FinalizeAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinalizeAll")
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
