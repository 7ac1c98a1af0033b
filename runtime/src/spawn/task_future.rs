//! The user's future inside the states of a task.
//!
//! A body is polled until it returns, panics, or is told to end. What follows is the same for
//! every task, and is done in polls of this wrapper, which is pending until the task is over:
//!
//! ```text
//! Unborn --1--> Body --2 returned--------------> Ending: children, then what it owns --> outcome
//!    |           |---3 panicked----------------> Ending
//!    |           '---4 cancelled: children end,
//!    |               then the body is dropped--> Ending
//!    '---------------4 cancelled---------------> Ending
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::{Domain, OutcomeHandle, PendingFinalizers, RemoteHandle};
use crate::panics;
use crate::task::raw::{OutcomeTo, TaskBody, Unstarted, allocate};
use crate::task::{Outcome, Panic, TaskError};

/// How the output of a body becomes the outcome of its task.
pub(crate) trait IntoOutcome<O> {
    type Value;
    type Error;

    fn into_outcome(output: O) -> Result<Self::Value, Self::Error>;
}

/// `spawn` and `call`: whatever is returned is a normal end.
#[derive(Debug)]
pub(crate) struct NeverFails;

impl<T> IntoOutcome<T> for NeverFails {
    type Value = T;
    type Error = Infallible;

    fn into_outcome(output: T) -> Result<T, Infallible> {
        Ok(output)
    }
}

/// `try_spawn` and `try_call`: `Err` is an abnormal end.
#[derive(Debug)]
pub(crate) struct MayFail;

impl<T, E> IntoOutcome<Result<T, E>> for MayFail {
    type Value = T;
    type Error = E;

    fn into_outcome(output: Result<T, E>) -> Result<T, E> {
        output
    }
}

pin_project! {
    /// A task's life. `M` makes the body on the body's own domain, where it is not made at once.
    #[project = TaskFutureProj]
    pub(crate) enum TaskFuture<M, Fut, V>
    where
        Fut: Future,
        V: IntoOutcome<Fut::Output>,
    {
        Lazy { make: Option<M>, kind: PhantomData<V> },
        Body { #[pin] future: Fut },
        Finishing {
            outcome: Option<Outcome<V::Value, V::Error>>,
            pending: Option<Box<PendingFinalizers>>,
        },
    }
}

impl<M, Fut, V> TaskFuture<M, Fut, V>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    V: IntoOutcome<Fut::Output>,
{
    /// A task whose body is made at its first poll.
    pub(crate) fn lazy(make: M) -> Self {
        TaskFuture::Lazy { make: Some(make), kind: PhantomData }
    }

    /// A task whose body is there already.
    pub(crate) fn new(future: Fut) -> Self {
        TaskFuture::Body { future }
    }

    /// Replaces the body by its outcome. The body is dropped in place; if that panics, the
    /// outcome says so.
    fn finish_with(mut self: Pin<&mut Self>, outcome: Outcome<V::Value, V::Error>) {
        let ending = TaskFuture::Finishing { outcome: Some(outcome), pending: None };
        if !std::mem::needs_drop::<Fut>() && !std::mem::needs_drop::<M>() {
            return self.as_mut().set(ending);
        }
        if let Err(panic) = Panic::catch(|| self.as_mut().set(ending)) {
            // `Pin::set` writes the new value even when the drop of the old one unwinds.
            self.as_mut().record_panic(panic);
        }
    }

    /// Lets a panic in a drop or a finalizer decide the outcome, unless an earlier one did.
    fn record_panic(self: Pin<&mut Self>, panic: Panic) {
        let TaskFutureProj::Finishing { outcome, .. } = self.project() else {
            unreachable!("only an ending task has an outcome")
        };
        if matches!(outcome, Some(Err(TaskError::Panicked(_)))) {
            return;
        }
        // The old outcome may hold a value whose drop panics as well; the first panic stays.
        let old = outcome.replace(Err(TaskError::Panicked(panic)));
        panics::ignore(|| drop(old));
    }

    /// Polls a body that is to go on. When that is ready there is an outcome.
    #[inline]
    fn poll_body(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let TaskFutureProj::Body { future } = self.as_mut().project() else {
            unreachable!("there is a body")
        };
        let outcome = match panics::catch_payload(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => V::into_outcome(output).map_err(TaskError::Failed),
            Err(payload) => Err(TaskError::Panicked(Panic::caught(payload))),
        };
        self.finish_with(outcome);
        Poll::Ready(())
    }

    /// Goes on with anything else.
    fn step(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let cancelled = domain.current_cancelled();
            match self.as_mut().project() {
                TaskFutureProj::Lazy { make, .. } => {
                    if cancelled {
                        // fault: unstarted-task-leaks-resources
                        self.as_mut().finish_with(domain.cancelled_outcome());
                        continue;
                    }
                    let make = make.take().expect("a body is made once");
                    match Panic::catch(make) {
                        Ok(future) => {
                            self.set(TaskFuture::Body { future });
                            ready!(self.as_mut().poll_body(cx));
                        }
                        Err(panic) => self.as_mut().finish_with(Err(TaskError::Panicked(panic))),
                    }
                }
                TaskFutureProj::Body { .. } => {
                    debug_assert!(cancelled, "any other body was polled");
                    // Children first: the body, with its guards and buffers, outlives them.
                    // fault: future-dropped-before-children
                    ready!(domain.join_children(false));
                    domain.enter_finalizing();
                    self.as_mut().finish_with(domain.cancelled_outcome());
                }
                TaskFutureProj::Finishing { pending: None, .. }
                    if domain.completes_immediately() =>
                {
                    return Poll::Ready(());
                }
                TaskFutureProj::Finishing { outcome, pending } => {
                    let normal = matches!(outcome, Some(Ok(_)));
                    if let Some(panic) = ready!(domain.poll_finishing(normal, pending, cx)) {
                        self.as_mut().record_panic(panic);
                    }
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<M, Fut, V> TaskBody<Domain> for TaskFuture<M, Fut, V>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    V: IntoOutcome<Fut::Output>,
{
    type Output = Outcome<V::Value, V::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo> {
        // Nearly every poll is one of a body that goes on.
        // fault: cancelled-task-polled
        if matches!(*self, TaskFuture::Body { .. }) && !domain.current_cancelled() {
            ready!(self.as_mut().poll_body(cx));
        }
        ready!(self.as_mut().step(domain, cx));
        let TaskFutureProj::Finishing { outcome, .. } = self.project() else {
            unreachable!("a task that has settled is ending")
        };
        Poll::Ready(domain.complete(outcome))
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Output> {
        match self.project() {
            TaskFutureProj::Finishing { outcome, .. } => outcome.take(),
            TaskFutureProj::Lazy { .. } | TaskFutureProj::Body { .. } => None,
        }
    }
}

/// Allocates a task that `make` starts on the domain of `remote`, where it has to be sent.
pub(super) fn allocate_lazy<M, F, V>(
    remote: Arc<RemoteHandle>,
    make: M,
) -> (Unstarted<RemoteHandle>, OutcomeHandle<V::Value, V::Error>)
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    V: IntoOutcome<F::Output> + 'static,
{
    let (owner, outcome) = allocate(remote, || TaskFuture::<M, F, V>::lazy(make));
    // SAFETY: before its first poll a lazy task future contains only `make`, which is `Send`.
    (unsafe { owner.into_unstarted() }, outcome)
}
