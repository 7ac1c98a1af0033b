use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use crate::away::Away;
use crate::current::ledger_or_new;
use crate::ids::next_id;
use crate::settle::{FinalizeReport, Settler, let_go};
use crate::{Ledger, NotOwner, OwnerInfo, ResourceInfo, enter};

/// Runs `future` as a task with a ledger of its own, under any executor.
///
/// When the future has ended, what it still owns is finalized, newest first; only then does the
/// scope yield. Ending normally with a live resource is a leak, and an error. So is the use of a
/// resource that belongs to another task or scope: after it the future is not polled again.
///
/// Scopes nest: what the inner one [transfers](crate::transfer) goes to the enclosing one when the
/// inner one ends. Where there is none, it is then owned by nobody.
///
/// Synchronous finalizers run in the poll that ends the future. A scope is `Send` if its future
/// is, and may end on another thread than the one it began on, so the settlement moves to a
/// thread of its own at the first asynchronous finalizer, and the scope waits for it.
///
/// # Panics
///
/// The future, when polled, if the given one does, after its resources are finalized.
///
/// # Cancel safety
///
/// To drop a scope is to end it abnormally: the given future is dropped, and what it owned is
/// finalized before the drop returns, newest first. From the first asynchronous finalizer on this
/// goes on on a thread of its own; it is not cancelled, but nobody waits for it, the process may
/// end before, and its panics are told to the panic hook only.
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
/// let error = outcome.expect_err("its value outlives it");
/// assert_eq!(error.leaked()[0].made_at.file(), file!());
/// ```
#[track_caller]
pub fn scope<F: Future>(future: F) -> Scope<F> {
    let stage = Stage::Running { future: Box::pin(future), ledger: None };
    Scope { stage, made_at: Location::caller() }
}

/// A future that runs another one with a ledger of its own; made by [`scope`](crate::scope()).
#[must_use = "futures do nothing unless polled"]
pub struct Scope<F: Future> {
    stage: Stage<F>,
    made_at: &'static Location<'static>,
}

enum Stage<F: Future> {
    /// The future lives. The ledger is made by the first poll.
    Running { future: Pin<Box<F>>, ledger: Option<Arc<Ledger>> },
    /// The future is gone, and asynchronous finalizers run.
    Settling { outcome: Outcome<F::Output>, ledger: Arc<Ledger>, away: Away },
    /// The outcome was yielded.
    Done,
}

/// How the future of a scope ended.
enum Outcome<T> {
    Value(T),
    Fault(NotOwner),
    Panic(Box<dyn Any + Send>),
}

// Nothing in it is pinned in place.
impl<F: Future> Unpin for Scope<F> {}

impl<F: Future> Future for Scope<F> {
    type Output = Result<F::Output, ScopeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let made_at = self.made_at;
        if let Stage::Running { future, ledger } = &mut self.stage {
            let ledger = ledger.get_or_insert_with(|| labelled(made_at));
            let ledger = Arc::clone(ledger);
            let entered = enter(Some(Arc::clone(&ledger)));
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
            let outcome = match (polled, ledger.take_not_owner()) {
                (Err(payload), _) => Outcome::Panic(payload),
                (Ok(_), Some(fault)) => Outcome::Fault(fault),
                (Ok(Poll::Ready(value)), None) => Outcome::Value(value),
                (Ok(Poll::Pending), None) => return Poll::Pending,
            };
            let outcome = self.drop_future(outcome, &ledger);
            entered.leave();
            match self.settle(outcome, ledger) {
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {}
            }
        }
        self.poll_settling(cx)
    }
}

impl<F: Future> Scope<F> {
    /// Drops the future inside its scope, which may make another outcome of it.
    fn drop_future(&mut self, outcome: Outcome<F::Output>, ledger: &Ledger) -> Outcome<F::Output> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stage)));
        match (outcome, dropped, ledger.take_not_owner()) {
            (Outcome::Panic(payload), ..) | (_, Err(payload), _) => Outcome::Panic(payload),
            (Outcome::Fault(fault), ..) | (_, Ok(()), Some(fault)) => Outcome::Fault(fault),
            (outcome @ Outcome::Value(_), Ok(()), None) => outcome,
        }
    }

    fn settle(
        &mut self,
        outcome: Outcome<F::Output>,
        ledger: Arc<Ledger>,
    ) -> Poll<Result<F::Output, ScopeError>> {
        let mut settler = Settler::new(Arc::clone(&ledger));
        let settled = if settler.finish_unless_async() {
            settler.finish()
        } else {
            match Away::start(settler) {
                Ok(away) => {
                    self.stage = Stage::Settling { outcome, ledger, away };
                    return Poll::Pending;
                }
                Err(mut settler) => settler.finish_without_waiting(),
            }
        };
        deliver_bequest(&ledger);
        Poll::Ready(conclude(outcome, settled))
    }

    fn poll_settling(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Output, ScopeError>> {
        let Stage::Settling { away, .. } = &mut self.stage else {
            panic!("a `Scope` was polled after it had completed");
        };
        let Poll::Ready(settled) = Pin::new(away).poll(cx) else {
            return Poll::Pending;
        };
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Settling { outcome, ledger, .. } => {
                deliver_bequest(&ledger);
                Poll::Ready(conclude(outcome, settled))
            }
            Stage::Running { .. } | Stage::Done => unreachable!("it was settling just now"),
        }
    }
}

fn labelled(made_at: &'static Location<'static>) -> Arc<Ledger> {
    let ledger = Ledger::new();
    ledger.set_owner(OwnerInfo { id: next_id(), name: Some("scope".into()), made_at });
    ledger
}

/// Hands what was transferred to the enclosing scope, or to nobody.
fn deliver_bequest(ledger: &Arc<Ledger>) {
    let bequest = ledger.take_transferred();
    if bequest.is_empty() {
        return;
    }
    if let Some(enclosing) = ledger_or_new() {
        enclosing.receive(bequest);
    }
}

fn conclude<T>(outcome: Outcome<T>, settled: FinalizeReport) -> Result<T, ScopeError> {
    let fault = match outcome {
        Outcome::Panic(payload) => resume_unwind(payload),
        Outcome::Fault(fault) => Some(fault),
        Outcome::Value(value) => {
            let FinalizeReport { leaked, panicked, unfinished, .. } = &settled;
            if leaked.is_empty() && panicked.is_empty() && unfinished.is_empty() {
                return Ok(value);
            }
            None
        }
    };
    Err(ScopeError { report: Box::new(Report { fault, settled }) })
}

impl<F: Future> Drop for Scope<F> {
    fn drop(&mut self) {
        let ledger = match &mut self.stage {
            Stage::Running { ledger, .. } => ledger.take(),
            // The settlement goes on elsewhere, but the bequest is for here.
            Stage::Settling { ledger, .. } => return deliver_bequest(ledger),
            Stage::Done => return,
        };
        // A future that was never polled owns nothing, but its drop may.
        let entered = enter(ledger);
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stage)));
        if let Some(ledger) = entered.leave() {
            let_go(Arc::clone(&ledger));
            deliver_bequest(&ledger);
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

/// How a [`Scope`] broke the rules.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, check, scope};
/// use std::sync::Arc;
///
/// let outcome = futures::executor::block_on(scope(async {
///     let mine = Arc::new(Owned::new(1, drop));
///     let yours = Arc::clone(&mine);
///     let inner = scope(async move { yours.get().map(|value| *value) }).await;
///     inner.expect_err("it was not given").not_owner().is_some()
/// }));
/// assert!(outcome.expect("the outer scope kept the rules"));
/// ```
#[derive(Clone)]
pub struct ScopeError {
    report: Box<Report>,
}

#[derive(Clone)]
struct Report {
    fault: Option<NotOwner>,
    settled: FinalizeReport,
}

impl ScopeError {
    /// Returns the use of a resource of another task that ended the scope.
    pub fn not_owner(&self) -> Option<&NotOwner> {
        self.report.fault.as_ref()
    }

    /// Returns what the scope still owned when it had ended normally. It is finalized by now.
    pub fn leaked(&self) -> &[ResourceInfo] {
        match self.report.fault {
            // An abnormal end may own what it likes.
            Some(_) => &[],
            None => &self.report.settled.leaked,
        }
    }

    /// Returns whose finalizers panicked, with what they said.
    pub fn panicked(&self) -> &[(ResourceInfo, String)] {
        &self.report.settled.panicked
    }

    /// Returns whose asynchronous finalizers were dropped before their ends: those that were
    /// begun by a [`Release`](crate::Release) which was dropped half-way, and, where no thread is
    /// to be had, all.
    pub fn unfinished(&self) -> &[ResourceInfo] {
        &self.report.settled.unfinished
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut sentence = |f: &mut fmt::Formatter<'_>, text: &dyn fmt::Display| {
            write!(f, "{}{text}", std::mem::replace(&mut separator, "; "))
        };
        if let Some(fault) = self.not_owner() {
            sentence(f, fault)?;
        }
        for resource in self.leaked() {
            sentence(
                f,
                &format_args!(
                    "{resource} was still owned when its scope ended: release it, or `transfer` it \
                     if it is meant for the parent"
                ),
            )?;
        }
        for (resource, message) in self.panicked() {
            sentence(f, &format_args!("the finalizer of {resource} panicked: {message}"))?;
        }
        for resource in self.unfinished() {
            sentence(f, &format_args!("the finalizer of {resource} did not end"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { fault, settled } = &*self.report;
        f.debug_struct("ScopeError").field("fault", fault).field("settled", settled).finish()
    }
}

impl Error for ScopeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.not_owner().map(|fault| fault as &(dyn Error + 'static))
    }
}
