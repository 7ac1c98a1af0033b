//! The user's future inside the stages of a task.
//!
//! The body is polled until it returns, panics, or is cancelled. The steps after that are the same
//! for every task. They happen in further polls of this wrapper, which is pending until the task is
//! complete. Numbers are the transitions in ARCHITECTURE.md:
//!
//! ```text
//! Lazy --1--> Body --2 returned---------------> Finishing: join children, finalize --> outcome
//!   |          |-----3 panicked---------------> Finishing
//!   |          '-----4 cancelled: join children,
//!   |                then drop the body-------> Finishing
//!   '----------------4 cancelled--------------> Finishing
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::{Domain, OutcomeHandle, PendingFinalizers, RemoteHandle};
use crate::outcome::{Outcome, Panic, TaskError, discard};
use crate::panics;
use crate::task::Cause;
use crate::task::raw::{OutcomeTo, TaskBody, Unstarted, allocate};

/// How the output of a body becomes the outcome of its task.
pub(super) trait IntoOutcome<O> {
    type Value;
    type Error: 'static;

    fn into_outcome(output: O) -> Result<Self::Value, Self::Error>;
}

/// `spawn` and `call`: every output is a value.
#[derive(Debug)]
pub(super) struct NeverFails;

impl<T> IntoOutcome<T> for NeverFails {
    type Value = T;
    type Error = Infallible;

    fn into_outcome(output: T) -> Result<T, Infallible> {
        Ok(output)
    }
}

/// `try_spawn` and `try_call`: an `Err` is a failure.
#[derive(Debug)]
pub(super) struct MayFail;

impl<T, E: 'static> IntoOutcome<Result<T, E>> for MayFail {
    type Value = T;
    type Error = E;

    fn into_outcome(output: Result<T, E>) -> Result<T, E> {
        output
    }
}

/// Makes an error that the current task has returned its outcome.
pub(crate) fn failed<E>(error: E) -> TaskError<E> {
    TaskError::Failed { error, task: Domain::current_identity() }
}

/// Makes a panic of the current task its outcome.
pub(super) fn panicked<E>(mut panic: Panic) -> TaskError<E> {
    panic.set_task(Domain::current_identity());
    TaskError::Panicked(panic)
}

pin_project! {
    /// The body of a task: the user's future, or its outcome. `M` creates the future on the task's
    /// own domain if it does not exist from the beginning.
    #[project = TaskFutureProj]
    pub(super) enum TaskFuture<M, Fut, K>
    where
        Fut: Future,
        K: IntoOutcome<Fut::Output>,
    {
        Lazy { make: Option<M>, kind: PhantomData<K> },
        Body { #[pin] future: Fut },
        Finishing {
            outcome: Option<Outcome<K::Value, K::Error>>,
            pending: Option<Box<PendingFinalizers>>,
        },
    }
}

impl<M, Fut, K> TaskFuture<M, Fut, K>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    K: IntoOutcome<Fut::Output>,
{
    /// A task whose body is created by its first poll.
    pub(super) fn lazy(make: M) -> Self {
        TaskFuture::Lazy { make: Some(make), kind: PhantomData }
    }

    /// A task with a body.
    pub(super) fn new(future: Fut) -> Self {
        TaskFuture::Body { future }
    }

    /// A task whose body has ended with `outcome`.
    pub(super) fn finishing(outcome: Option<Outcome<K::Value, K::Error>>) -> Self {
        TaskFuture::Finishing { outcome, pending: None }
    }

    /// Drops the body in place and stores the outcome. If the drop panics, that is the outcome.
    fn finish_with(mut self: Pin<&mut Self>, outcome: Outcome<K::Value, K::Error>) {
        let finishing = TaskFuture::Finishing { outcome: Some(outcome), pending: None };
        // Bodies without a destructor need no code for catching its panic.
        if !std::mem::needs_drop::<Fut>() && !std::mem::needs_drop::<M>() {
            return self.as_mut().set(finishing);
        }
        if let Err(panic) = Panic::catch(|| self.as_mut().set(finishing)) {
            // `Pin::set` writes the new value even if the drop of the old one unwinds.
            self.as_mut().record_panic(panic);
        }
    }

    /// Adds a panic of a destructor or a finalizer to the outcome: it is the main cause unless the
    /// body has panicked before.
    fn record_panic(self: Pin<&mut Self>, mut panic: Panic) {
        let outcome = self.outcome();
        if let Some(Err(TaskError::Panicked(first))) = outcome {
            first.add_causes(panic.into_causes());
            return;
        }
        // Dropping the replaced outcome may panic as well.
        panic.add_causes(outcome.take().map(discard).unwrap_or_default());
        *outcome = Some(Err(panicked(panic)));
    }

    /// Makes the violations of the current task its outcome, and the previous outcome a further
    /// cause.
    #[cold]
    fn record_violations(self: Pin<&mut Self>, domain: &Domain) {
        let outcome = self.outcome();
        let causes = outcome.take().map(discard).unwrap_or_default();
        // The drop of the outcome was code of this task, too.
        domain.raise_recorded_not_owner();
        if let Some(mut report) = domain.take_violations() {
            report.add_causes(causes);
            report.set_task(Domain::current_identity());
            *outcome = Some(Err(TaskError::Violation(report)));
        }
    }

    fn outcome(self: Pin<&mut Self>) -> &mut Option<Outcome<K::Value, K::Error>> {
        match self.project() {
            TaskFutureProj::Finishing { outcome, .. } => outcome,
            _ => unreachable!("only a finishing task has an outcome"),
        }
    }

    /// Polls the body. If this is ready, the outcome is stored.
    #[inline]
    fn poll_body(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let TaskFutureProj::Body { future } = self.as_mut().project() else {
            unreachable!("the task has a body")
        };
        let outcome = match panics::catch_payload(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => K::into_outcome(output).map_err(failed),
            Err(payload) => Err(panicked(Panic::caught(payload))),
        };
        self.finish_with(outcome);
        Poll::Ready(())
    }

    /// Performs all steps other than an ordinary poll of the body. If this is ready, the task is
    /// complete, except that its outcome is not delivered yet.
    fn step(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<()> {
        let cancelled = domain.current_cancelled();
        loop {
            match self.as_mut().project() {
                TaskFutureProj::Lazy { make, .. } => {
                    if cancelled {
                        // The body is never created, but resources that the task was given have
                        // to be finalized: continue with `Finishing`.
                        // fault: unstarted-task-leaks-resources
                        self.as_mut().finish_with(domain.cancelled_outcome());
                        continue;
                    }
                    let make = make.take().expect("a body is created once");
                    match Panic::catch(make) {
                        Ok(future) => {
                            self.set(TaskFuture::Body { future });
                            // The first poll of the body; the caller polls it from now on.
                            ready!(self.as_mut().poll_body(cx));
                        }
                        Err(panic) => self.as_mut().finish_with(Err(panicked(panic))),
                    }
                }
                TaskFutureProj::Body { .. } if !cancelled => {
                    let waker = domain.probe_waker(cx.waker());
                    ready!(self.as_mut().poll_body(&mut Context::from_waker(&waker)));
                }
                TaskFutureProj::Body { .. } => {
                    // The children complete before the body is dropped: guards and buffers in the
                    // body outlive the children that may use them.
                    // fault: future-dropped-before-children
                    ready!(domain.join_children(false));
                    domain.enter_finalizing();
                    self.as_mut().finish_with(domain.cancelled_outcome());
                }
                // Most tasks have neither children nor resources.
                TaskFutureProj::Finishing { pending: None, .. }
                    if domain.completes_immediately() =>
                {
                    return Poll::Ready(());
                }
                TaskFutureProj::Finishing { outcome, pending } => {
                    let normal = matches!(outcome, Some(Ok(_)));
                    if let Some(panic) = ready!(domain.poll_finishing(normal, pending, cx)) {
                        self.as_mut().record_panic(panic);
                        // The drop of the outcome that the panic replaces was code of this task.
                        // fault: replaced-outcome-unchecked
                        domain.raise_recorded_not_owner();
                    }
                    // fault: violation-not-the-outcome
                    if domain.current_has_violated() {
                        self.as_mut().record_violations(domain);
                    }
                    // A destructor or a finalizer may have spawned some: join them.
                    // fault: refused-children-not-joined
                    if !domain.has_new_children() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl<M, Fut, K> TaskBody<Domain> for TaskFuture<M, Fut, K>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    K: IntoOutcome<Fut::Output>,
{
    type Output = Outcome<K::Value, K::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo> {
        // Nearly every poll is an ordinary poll of a body.
        // fault: cancelled-task-polled
        if matches!(*self, TaskFuture::Body { .. }) && domain.polls_body() {
            ready!(self.as_mut().poll_body(cx));
        }
        ready!(self.as_mut().step(domain, cx));
        Poll::Ready(domain.complete(self.outcome()))
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Output> {
        match self.project() {
            TaskFutureProj::Finishing { outcome, .. } => outcome.take(),
            TaskFutureProj::Lazy { .. } | TaskFutureProj::Body { .. } => None,
        }
    }

    fn discard(self: Pin<&mut Self>) -> Vec<Cause> {
        self.take().map(discard).unwrap_or_default()
    }
}

/// Allocates a task whose body `make` creates on the domain of `remote`, to which the task must be
/// sent.
pub(super) fn allocate_lazy<M, F, K>(
    remote: Arc<RemoteHandle>,
    make: M,
) -> (Unstarted<RemoteHandle>, OutcomeHandle<K::Value, K::Error>)
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    K: IntoOutcome<F::Output> + 'static,
{
    let (owner, outcome) = allocate(remote, || TaskFuture::<M, F, K>::lazy(make));
    // SAFETY: before its first poll a lazy task future contains only `make`, which is `Send`.
    (unsafe { owner.into_unstarted() }, outcome)
}
