use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_hooks::Holder;

use super::{ReadGuard, RwLock, WRITER, WriteGuard};
use crate::error::polled_after_completion;
use crate::semaphore::raw::{Acquired, Acquiring};

/// The future of [`RwLock::read`].
pub type Read<'a, T> = ReadFrom<&'a RwLock<T>, T>;

/// The future of [`RwLock::read_arc`].
pub type ReadArc<T> = ReadFrom<Arc<RwLock<T>>, T>;

/// The future of [`RwLock::write`].
pub type Write<'a, T> = WriteFrom<&'a RwLock<T>, T>;

/// The future of [`RwLock::write_arc`].
pub type WriteArc<T> = WriteFrom<Arc<RwLock<T>>, T>;

/// A lock that is requested, for reading or writing.
struct Locking<L: Deref<Target = RwLock<T>>, T: ?Sized> {
    /// `None` once the lock is held.
    lock: Option<L>,
    acquiring: Acquiring,
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Locking<L, T> {
    fn new(lock: L, permits: usize, called_at: &'static Location<'static>) -> Self {
        Self { lock: Some(lock), acquiring: Acquiring::new(permits, called_at) }
    }

    fn poll(&mut self, cx: &mut Context<'_>, operation: &'static str) -> Poll<(L, Acquired)> {
        let Self { lock, acquiring } = self;
        let Some(polled) = lock else {
            polled_after_completion("`RwLock::read` or `write`", acquiring.called_at())
        };
        let report = (operation, |wait| polled.describe(wait));
        let acquired = ready!(acquiring.poll(&polled.raw, cx, report));
        let acquired = acquired.expect("the semaphore of a lock is never closed");
        Poll::Ready((lock.take().expect("it was polled just now"), acquired))
    }

    fn holder(&self, acquired: &Acquired) -> Holder {
        Holder::new(acquired.task, self.acquiring.called_at())
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Drop for Locking<L, T> {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            self.acquiring.cancel(&lock.raw);
        }
    }
}

/// A future that locks an [`RwLock`] for reading. `L` is `&RwLock` or `Arc<RwLock>`.
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place in the line.
///
/// # Examples
///
/// ```
/// use matou_sync::{RwLock, futures::Read};
///
/// let lock = RwLock::new(5);
/// let read: Read<'_, i32> = lock.read();
/// assert_eq!(*futures::executor::block_on(read), 5);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ReadFrom<L: Deref<Target = RwLock<T>>, T: ?Sized>(Locking<L, T>);

/// A future that locks an [`RwLock`] for writing. `L` is `&RwLock` or `Arc<RwLock>`.
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place in the line.
///
/// # Examples
///
/// ```
/// use matou_sync::{RwLock, futures::Write};
///
/// let lock = RwLock::new(5);
/// let write: Write<'_, i32> = lock.write();
/// *futures::executor::block_on(write) += 1;
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WriteFrom<L: Deref<Target = RwLock<T>>, T: ?Sized>(Locking<L, T>);

// The lock is never pinned, only moved.
impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Unpin for ReadFrom<L, T> {}
impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Unpin for WriteFrom<L, T> {}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> ReadFrom<L, T> {
    pub(super) fn new(lock: L, called_at: &'static Location<'static>) -> Self {
        Self(Locking::new(lock, 1, called_at))
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> WriteFrom<L, T> {
    pub(super) fn new(lock: L, called_at: &'static Location<'static>) -> Self {
        // fault: writer-beside-readers
        Self(Locking::new(lock, WRITER, called_at))
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Future for ReadFrom<L, T> {
    type Output = ReadGuard<L, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (lock, acquired) = ready!(self.0.poll(cx, "read lock"));
        Poll::Ready(ReadGuard::acquired(lock, acquired.before, || self.0.holder(&acquired)))
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Future for WriteFrom<L, T> {
    type Output = WriteGuard<L, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (lock, acquired) = ready!(self.0.poll(cx, "write lock"));
        Poll::Ready(WriteGuard::acquired(lock, self.0.holder(&acquired)))
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> fmt::Debug for Locking<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking")
            .field("called_at", &self.acquiring.called_at().to_string())
            .field("waiting", &self.acquiring.is_waiting())
            .finish_non_exhaustive()
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> fmt::Debug for ReadFrom<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Read").field(&self.0).finish()
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> fmt::Debug for WriteFrom<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Write").field(&self.0).finish()
    }
}
