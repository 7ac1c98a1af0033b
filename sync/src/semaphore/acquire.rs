use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_hooks::Target;

use super::raw::Acquiring;
use super::{Permit, Semaphore};
use crate::error::{AcquireError, polled_after_completion};

/// The future of [`Semaphore::acquire`] and [`Semaphore::acquire_many`].
pub type Acquire<'a> = AcquireFrom<&'a Semaphore>;

/// The future of [`Semaphore::acquire_arc`] and [`Semaphore::acquire_many_arc`].
pub type AcquireArc = AcquireFrom<Arc<Semaphore>>;

/// A future that acquires permits. `S` is `&Semaphore` or `Arc<Semaphore>`.
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place in the line.
///
/// # Examples
///
/// ```
/// use matou_sync::{Semaphore, futures::Acquire};
///
/// let semaphore = Semaphore::new(1);
/// let acquire: Acquire<'_> = semaphore.acquire();
/// assert!(futures::executor::block_on(acquire).is_ok());
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct AcquireFrom<S: Deref<Target = Semaphore>> {
    /// `None` once the future has completed.
    semaphore: Option<S>,
    acquiring: Acquiring,
}

// The semaphore is never pinned, only moved.
impl<S: Deref<Target = Semaphore>> Unpin for AcquireFrom<S> {}

impl<S: Deref<Target = Semaphore>> AcquireFrom<S> {
    pub(super) fn new(semaphore: S, amount: usize, called_at: &'static Location<'static>) -> Self {
        Self { semaphore: Some(semaphore), acquiring: Acquiring::new(amount, called_at) }
    }
}

impl<S: Deref<Target = Semaphore>> Future for AcquireFrom<S> {
    type Output = Result<Permit<S>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, acquiring } = &mut *self;
        let Some(polled) = semaphore else {
            polled_after_completion("`Acquire`", acquiring.called_at())
        };
        let target = Target::new("semaphore", (&raw const **polled).addr());
        let report = ("acquire", |wait: matou_hooks::Wait| wait.on(target));
        let result = ready!(acquiring.poll(&polled.raw, cx, report));
        let semaphore = semaphore.take().expect("it was polled just now");
        Poll::Ready(result.map(|_| Permit::new(semaphore, acquiring.amount())))
    }
}

impl<S: Deref<Target = Semaphore>> Drop for AcquireFrom<S> {
    fn drop(&mut self) {
        if let Some(semaphore) = &self.semaphore {
            self.acquiring.cancel(&semaphore.raw);
        }
    }
}

impl<S: Deref<Target = Semaphore>> fmt::Debug for AcquireFrom<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("permits", &self.acquiring.amount())
            .field("called_at", &self.acquiring.called_at().to_string())
            .field("waiting", &self.acquiring.is_waiting())
            .finish_non_exhaustive()
    }
}
