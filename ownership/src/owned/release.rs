use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Owned;
use crate::context::enter_finalizer;
use crate::finalize::LocalFuture;
use crate::ops::adopt;
use crate::registry::ResourceHandle;
use crate::release::{Deferred, defer_to_owner};

impl<T: Send + 'static> Owned<T> {
    /// Finalizes the value now.
    ///
    /// A synchronous finalizer has run when this function returns, and the future completes at
    /// once. An asynchronous finalizer is run by the future, in the task that polls it. That task
    /// becomes the owner, and its end waits for the finalizer.
    ///
    /// # Panics
    ///
    /// If a synchronous finalizer panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::Owned;
    ///
    /// let owned = Owned::with_async(1, |value| async move { assert_eq!(value, 1) });
    /// futures::executor::block_on(owned.release());
    /// ```
    pub fn release(self) -> Release<T> {
        let progress = if self.inner.has_async_finalizer() {
            Progress::Unstarted(self)
        } else {
            drop(self);
            Progress::Complete
        };
        Release { progress }
    }
}

/// A future that runs an asynchronous finalizer. Returned by [`Owned::release`].
///
/// # Panics
///
/// When polled, if the finalizer panics.
///
/// # Cancel safety
///
/// The finalizer is not cancelled. Dropping the future before its first poll is the same as
/// dropping the [`Owned`]. Dropping it later suspends the finalizer, and the end of the task that
/// polled it, which is the owner, continues it from there. This requires that the task ends on the
/// same thread, as in a runtime whose tasks never move. Otherwise (outside any task, or if the task
/// ends on another thread) the rest of the finalizer is dropped.
#[must_use = "an asynchronous finalizer does not run now unless this is polled"]
pub struct Release<T: Send + 'static> {
    progress: Progress<T>,
}

enum Progress<T: Send + 'static> {
    Unstarted(Owned<T>),
    /// The content is taken. The ticket is not finalized yet, so that the owner's end waits.
    Running {
        owned: Owned<T>,
        future: LocalFuture,
    },
    Complete,
}

// No field is structurally pinned.
impl<T: Send + 'static> Unpin for Release<T> {}

impl<T: Send + 'static> Future for Release<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.progress = match std::mem::replace(&mut this.progress, Progress::Complete) {
            Progress::Unstarted(owned) => start(owned),
            progress => progress,
        };
        let Progress::Running { owned, future } = &mut this.progress else {
            return Poll::Ready(());
        };
        let polled = run_step(owned, || future.as_mut().poll(cx));
        if polled.is_ready() {
            let _detached = owned.inner.ticket().begin_finalize();
            let progress = std::mem::replace(&mut this.progress, Progress::Complete);
            drop_in_finalizer(progress);
        }
        polled
    }
}

/// Makes the current task the owner, since it must wait for the finalizer, whose future cannot
/// leave this thread. Then creates the future.
fn start<T: Send + 'static>(owned: Owned<T>) -> Progress<T> {
    if adopt(&owned).is_err() {
        return Progress::Complete;
    }
    defer_to_owner(&owned.resource());
    let Ok(content) = owned.inner.take() else {
        return Progress::Complete;
    };
    let future = run_step(&owned, || content.finalize());
    match future {
        Some(future) => Progress::Running { owned, future },
        None => Progress::Complete,
    }
}

/// Runs one step of the finalizer of `owned`. If it panics, marks `owned` as finalized, since the
/// finalizer must not continue.
fn run_step<T: Send + 'static, R>(owned: &Owned<T>, step: impl FnOnce() -> R) -> R {
    let finalize_on_unwind = FinalizeOnUnwind(owned);
    let in_finalizer = enter_finalizer();
    let result = step();
    drop(in_finalizer);
    std::mem::forget(finalize_on_unwind);
    result
}

struct FinalizeOnUnwind<'a, T: Send + 'static>(&'a Owned<T>);

impl<T: Send + 'static> Drop for FinalizeOnUnwind<'_, T> {
    fn drop(&mut self) {
        let _detached = self.0.inner.ticket().begin_finalize();
    }
}

fn drop_in_finalizer<T>(value: T) {
    let _finalizer = enter_finalizer();
    drop(value);
}

impl<T: Send + 'static> Drop for Release<T> {
    fn drop(&mut self) {
        let Progress::Running { owned, future } =
            std::mem::replace(&mut self.progress, Progress::Complete)
        else {
            return;
        };
        let ticket = owned.inner.ticket();
        let is_finalized = ticket.is_finalized();
        if !is_finalized && !matches!(defer_to_owner(&owned.resource()), Deferred::Unowned) {
            owned.inner.suspend(future);
        } else {
            let _detached = ticket.begin_finalize();
            drop_in_finalizer(future);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Release<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").finish_non_exhaustive()
    }
}
