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
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::cell::{Ended, Living};
use super::outcome::{Outcome, Panic, TaskError};
use super::panics;
use crate::domain::{Domain, Settlement};

/// How the output of a body becomes the outcome of its task.
pub(crate) trait Verdict<O> {
    type Value;
    type Error;

    fn judge(output: O) -> Result<Self::Value, Self::Error>;
}

/// `spawn` and `call`: whatever is returned is a normal end.
#[derive(Debug)]
pub(crate) struct Always;

impl<T> Verdict<T> for Always {
    type Value = T;
    type Error = Infallible;

    fn judge(output: T) -> Result<T, Infallible> {
        Ok(output)
    }
}

/// `try_spawn` and `try_call`: `Err` is an abnormal end.
#[derive(Debug)]
pub(crate) struct Fallible;

impl<T, E> Verdict<Result<T, E>> for Fallible {
    type Value = T;
    type Error = E;

    fn judge(output: Result<T, E>) -> Result<T, E> {
        output
    }
}

pin_project! {
    /// A task's life. `M` makes the body on the body's own domain, where it is not made at once.
    #[project = LifeProj]
    pub(crate) enum Life<M, Fut, V>
    where
        Fut: Future,
        V: Verdict<Fut::Output>,
    {
        Unborn { make: Option<M>, verdict: PhantomData<V> },
        Body { #[pin] future: Fut },
        Ending {
            outcome: Option<Outcome<V::Value, V::Error>>,
            settlement: Option<Box<Settlement>>,
        },
    }
}

impl<M, Fut, V> Life<M, Fut, V>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    V: Verdict<Fut::Output>,
{
    /// A task whose body is made at its first poll.
    pub(crate) fn unborn(make: M) -> Self {
        Life::Unborn { make: Some(make), verdict: PhantomData }
    }

    /// A task whose body is there already.
    pub(crate) fn born(future: Fut) -> Self {
        Life::Body { future }
    }

    /// Replaces the body by its outcome. The body is dropped in place; if that panics, the
    /// outcome says so.
    fn end_with(mut self: Pin<&mut Self>, outcome: Outcome<V::Value, V::Error>) {
        let ending = Life::Ending { outcome: Some(outcome), settlement: None };
        if !std::mem::needs_drop::<Fut>() && !std::mem::needs_drop::<M>() {
            return self.as_mut().set(ending);
        }
        if let Err(panic) = panics::catch(|| self.as_mut().set(ending)) {
            // `Pin::set` writes the new value even when the drop of the old one unwinds.
            self.as_mut().overrule(panic);
        }
    }

    /// Lets a panic in a drop or a finalizer decide the outcome, unless an earlier one did.
    fn overrule(self: Pin<&mut Self>, panic: Panic) {
        let LifeProj::Ending { outcome, .. } = self.project() else {
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
        let LifeProj::Body { future } = self.as_mut().project() else {
            unreachable!("there is a body")
        };
        let outcome = match panics::catch_payload(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => V::judge(output).map_err(TaskError::Failed),
            Err(payload) => Err(TaskError::Panicked(Panic::caught(payload))),
        };
        self.end_with(outcome);
        Poll::Ready(())
    }

    /// Goes on with anything else.
    fn step(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let cancelled = domain.current_cancelled();
            match self.as_mut().project() {
                LifeProj::Unborn { make, .. } => {
                    if cancelled {
                        // fault: unstarted-task-leaks-resources
                        self.as_mut().end_with(domain.cancelled_outcome());
                        continue;
                    }
                    let make = make.take().expect("a body is made once");
                    match panics::catch(make) {
                        Ok(future) => {
                            self.set(Life::Body { future });
                            ready!(self.as_mut().poll_body(cx));
                        }
                        Err(panic) => self.as_mut().end_with(Err(TaskError::Panicked(panic))),
                    }
                }
                LifeProj::Body { .. } => {
                    debug_assert!(cancelled, "any other body was polled");
                    // Children first: the body, with its guards and buffers, outlives them.
                    // fault: future-dropped-before-children
                    ready!(domain.end_children(false));
                    domain.begin_settling();
                    self.as_mut().end_with(domain.cancelled_outcome());
                }
                LifeProj::Ending { settlement: None, .. } if domain.ends_at_once() => {
                    return Poll::Ready(());
                }
                LifeProj::Ending { outcome, settlement } => {
                    let normal = matches!(outcome, Some(Ok(_)));
                    if let Some(panic) = ready!(domain.poll_ending(normal, settlement, cx)) {
                        self.as_mut().overrule(panic);
                    }
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<M, Fut, V> Living for Life<M, Fut, V>
where
    M: FnOnce() -> Fut,
    Fut: Future,
    V: Verdict<Fut::Output>,
{
    type Outcome = Outcome<V::Value, V::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<Ended> {
        // Nearly every poll is one of a body that goes on.
        // fault: cancelled-task-polled
        if matches!(*self, Life::Body { .. }) && !domain.current_cancelled() {
            ready!(self.as_mut().poll_body(cx));
        }
        ready!(self.as_mut().step(domain, cx));
        let LifeProj::Ending { outcome, .. } = self.project() else {
            unreachable!("a task that has settled is ending")
        };
        Poll::Ready(domain.conclude(outcome))
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Outcome> {
        match self.project() {
            LifeProj::Ending { outcome, .. } => outcome.take(),
            LifeProj::Unborn { .. } | LifeProj::Body { .. } => None,
        }
    }
}
