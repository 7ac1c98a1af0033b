use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::away::Away;
use crate::current::enter_finalizing;
use crate::{FinalizeStatus, Ledger, Resource, ResourceInfo};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Finalizes what a ledger still owns, newest first, each exactly once.
///
/// Made by [`Ledger::finalize_all`]. A poll runs synchronous finalizers one after the other, up to an
/// asynchronous one, which it polls to its end before it goes on. A panic of a finalizer is caught
/// and reported, and the rest still run. Meanwhile the ledger is the current one, and the
/// thread is [in a finalizer](crate::in_finalizer). What enters the ledger during the settlement is settled
/// too; then the ledger is closed.
///
/// # Cancel safety
///
/// Dropping it is the same as [`finish_without_waiting`](FinalizeAll::finish_without_waiting), without the report.
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
/// let settled = futures::executor::block_on(ledger.finalize_all());
/// assert_eq!(settled.leaked.len(), 1);
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct FinalizeAll {
    settler: Settler,
    running: Option<(ResourceInfo, LocalFuture)>,
    done: bool,
}

/// What a settlement did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FinalizeReport {
    /// What was finalized by the settlement, in the order in which the finalizers began.
    pub finalized: Vec<ResourceInfo>,
    /// Those of `finalized` that were owned when it began, and whose handle was not dropped by
    /// then.
    pub leaked: Vec<ResourceInfo>,
    /// The finalizers that panicked, with what they said. This includes those that ran earlier,
    /// on a thread that was panicking already.
    pub panicked: Vec<(ResourceInfo, String)>,
    /// Those of `finalized` whose asynchronous finalizers were dropped before their ends.
    pub unfinished: Vec<ResourceInfo>,
}

impl FinalizeAll {
    pub(crate) fn new(settler: Settler) -> FinalizeAll {
        FinalizeAll { settler, running: None, done: false }
    }

    /// Lists what is not finalized yet: what is being awaited, and all that was not reached.
    pub fn unfinished(&self) -> Vec<ResourceInfo> {
        let running = self.running.iter().map(|(info, _)| info.clone());
        running.chain(self.settler.ledger.resources()).collect()
    }

    /// Ends the settlement without waiting any more, for when the grace period is over.
    ///
    /// The asynchronous finalizer that is being awaited is dropped. The synchronous ones run,
    /// newest first as ever; an asynchronous one is polled once, and dropped if that was not
    /// enough.
    pub fn finish_without_waiting(mut self) -> FinalizeReport {
        self.finish()
    }

    fn finish(&mut self) -> FinalizeReport {
        self.done = true;
        if let Some((info, future)) = self.running.take() {
            self.settler.settled.unfinished.push(info.clone());
            self.settler.run(&info, move || drop(future));
        }
        self.settler.finish_without_waiting()
    }
}

impl Future for FinalizeAll {
    type Output = FinalizeReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FinalizeReport> {
        let this = &mut *self;
        assert!(!this.done, "a `FinalizeAll` was polled after it had completed");
        loop {
            if let Some((info, future)) = &mut this.running {
                let polled = this.settler.run(info, || future.as_mut().poll(cx));
                if polled.is_some_and(|polled| polled.is_pending()) {
                    return Poll::Pending;
                }
                // It is finished, or has panicked. Its drop may panic as well.
                if let Some((info, future)) = this.running.take() {
                    this.settler.run(&info, move || drop(future));
                }
            }
            let Some(resource) = this.settler.next() else {
                this.done = true;
                return Poll::Ready(this.settler.finish());
            };
            let info = resource.ticket().info();
            this.running = this.settler.finalize(resource).map(|future| (info, future));
        }
    }
}

impl Drop for FinalizeAll {
    fn drop(&mut self) {
        if !self.done {
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

/// The part of a settlement that may move between threads.
pub(crate) struct Settler {
    ledger: Arc<Ledger>,
    settled: FinalizeReport,
}

impl Settler {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Settler {
        ledger.begin_settlement();
        Settler { ledger, settled: FinalizeReport::default() }
    }

    /// Runs synchronous finalizers until there is nothing more to do (true), or an asynchronous one
    /// is next (false).
    pub(crate) fn finish_unless_async(&mut self) -> bool {
        loop {
            if self.ledger.newest().is_some_and(|newest| newest.is_async()) {
                return false;
            }
            let Some(resource) = self.next() else {
                return true;
            };
            self.finalize_without_waiting(resource);
        }
    }

    pub(crate) fn finish_without_waiting(&mut self) -> FinalizeReport {
        while let Some(resource) = self.next() {
            self.finalize_without_waiting(resource);
        }
        self.finish()
    }

    /// Returns the report. The ledger is closed by now.
    pub(crate) fn finish(&mut self) -> FinalizeReport {
        self.settled.panicked.append(&mut self.ledger.take_panics());
        std::mem::take(&mut self.settled)
    }

    /// Takes the newest resource out of the ledger. The caller has to finalize it.
    fn next(&mut self) -> Option<Arc<dyn Resource>> {
        loop {
            let newest = self.ledger.newest_or_close()?;
            // Somebody may have moved or finalized it since; then there is another newest.
            if let Some((detached, deferred)) = newest.ticket().finish_in(&self.ledger) {
                let info = newest.ticket().info();
                if !deferred && !detached.late {
                    self.settled.leaked.push(info.clone());
                }
                self.settled.finalized.push(info);
                return Some(newest);
            }
        }
    }

    fn finalize(&mut self, resource: Arc<dyn Resource>) -> Option<LocalFuture> {
        let info = resource.ticket().info();
        #[cfg(planted)]
        if crate::planted::is_planted(crate::planted::Bug::FinalizedTwice) && !resource.is_async() {
            let _ = resource.finalize();
        }
        // Ours may be the last reference, so its drop is the finalizer's affair, too.
        let finalized = self.run(&info, move || resource.finalize());
        match finalized {
            Some(FinalizeStatus::Pending(future)) => Some(future),
            Some(FinalizeStatus::Done) | None => None,
        }
    }

    fn finalize_without_waiting(&mut self, resource: Arc<dyn Resource>) {
        let info = resource.ticket().info();
        if let Some(mut future) = self.finalize(resource) {
            let mut cx = Context::from_waker(Waker::noop());
            let polled = self.run(&info, || future.as_mut().poll(&mut cx));
            if polled.is_some_and(|polled| polled.is_pending()) {
                self.settled.unfinished.push(info.clone());
            }
            self.run(&info, move || drop(future));
        }
    }

    /// Runs a step of a finalizer in its owner's place, and keeps its panic.
    fn run<R>(&mut self, info: &ResourceInfo, step: impl FnOnce() -> R) -> Option<R> {
        let entered = enter_finalizing(Some(Arc::clone(&self.ledger)));
        let result = catch_unwind(AssertUnwindSafe(step));
        entered.leave();
        match result {
            Ok(value) => Some(value),
            Err(payload) => {
                self.settled.panicked.push((info.clone(), message_of(payload)));
                None
            }
        }
    }
}

/// Settles a ledger whose task was dropped, without waiting: what is synchronous runs here, and
/// from the first asynchronous finalizer on the rest runs on a thread of its own.
pub(crate) fn let_go(ledger: Arc<Ledger>) {
    let mut settler = Settler::new(ledger);
    if !settler.finish_unless_async()
        && let Err(mut settler) = Away::start(settler)
    {
        settler.finish_without_waiting();
    }
}

/// Turns what a panic left behind into text.
pub(crate) fn message_of(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("a panic whose payload is no text")
    };
    // A payload may be anything, so also something whose drop panics. That one is given up.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    message
}
