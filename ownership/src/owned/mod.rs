//! Values with a finalizer.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::info::ResourceInfo;
use crate::ops::{adopt, check, own};
use crate::registry::{Resource, ResourceHandle, Ticket};
use crate::release::defer;

mod error;
mod guard;
mod inner;
mod release;

pub use error::OwnedError;
pub use guard::{OwnedMut, OwnedRef};
use inner::{Content, Finalizer, Inner};
pub use release::Release;

/// A value with a finalizer that runs exactly once, however the task that owns the value ends.
///
/// The task that creates the value owns it. The value is finalized when it is released or dropped.
/// If it outlives its owner, the owner's parent inherits it; when the last of these tasks ends, it
/// is finalized even if it is stored in a `static` or was forgotten. The finalizer takes the value,
/// so it cannot be used afterwards.
///
/// An `Owned` in an `Arc` can be shared between tasks, but only its owner can [`get`](Owned::get)
/// the value.
///
/// # Examples
///
/// ```
/// use matou_ownership::Owned;
/// use std::sync::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// let mut owned = Owned::new(vec![1], move |list| sender.send(list).expect("connected"));
/// owned.get_mut()?.push(2);
/// assert_eq!(owned.get()?.len(), 2);
/// drop(owned);
/// assert_eq!(receiver.recv(), Ok(vec![1, 2]));
/// # Ok::<(), matou_ownership::OwnedError>(())
/// ```
///
/// The value moves into the `Owned`, so it cannot be used or closed independently of the finalizer:
///
/// ```compile_fail,E0382
/// use matou_ownership::Owned;
/// use std::fs::File;
///
/// let file = File::open("/dev/null")?;
/// let owned = Owned::new(file, drop);
/// drop(file); // This would close the descriptor twice.
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "ScopeGuard")]
#[doc(alias = "AsyncDrop")]
#[doc(alias = "defer")]
#[doc(alias = "scopeguard")]
pub struct Owned<T: Send + 'static> {
    inner: Arc<Inner<T>>,
}

impl<T: Send + 'static> Owned<T> {
    /// Creates a value that the current task owns and that `finalizer` finalizes.
    ///
    /// Dropping the handle runs the finalizer. If the finalizer panics, the drop panics, unless the
    /// thread is panicking already. Then the panic is caught and recorded for the owner's
    /// [`FinalizeReport`](crate::FinalizeReport).
    ///
    /// # Panics
    ///
    /// If called from a finalizer: finalizers cannot own resources.
    #[track_caller]
    pub fn new(value: T, finalizer: impl FnOnce(T) + Send + 'static) -> Owned<T> {
        let finalizer = Box::new(move |value| {
            finalizer(value);
            None
        });
        Owned::with_finalizer(value, finalizer, false)
    }

    /// Creates a value that the current task owns and that the future returned by `finalizer`
    /// finalizes.
    ///
    /// The closure may move to the thread of the owner. The future stays on that thread, so it need
    /// not be `Send`.
    ///
    /// Dropping the handle leaves the value to its owner, whose end finalizes it. This is not a
    /// leak, but the value is kept until then; `release().await` finalizes it now. If the value has
    /// outlived an owner, a runtime finalizes it without waiting for the end of the next one. If
    /// the value is unowned and the handle is dropped outside any task, the finalizer runs on a
    /// separate thread. That thread is not joined: the process may exit before the finalizer
    /// completes.
    ///
    /// # Panics
    ///
    /// If called from a finalizer: finalizers cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Owned, scope};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// let closed = Arc::new(AtomicBool::new(false));
    /// let flag = closed.clone();
    /// let outcome = futures::executor::block_on(scope(async {
    ///     Owned::with_async((), |()| async move { flag.store(true, Ordering::SeqCst) });
    /// }));
    /// assert!(outcome.is_ok());
    /// assert!(closed.load(Ordering::SeqCst));
    /// ```
    #[track_caller]
    pub fn with_async<M, F>(value: T, finalizer: M) -> Owned<T>
    where
        M: FnOnce(T) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let finalizer = Box::new(move |value| Some(Box::pin(finalizer(value)) as Pin<Box<_>>));
        Owned::with_finalizer(value, finalizer, true)
    }

    #[track_caller]
    fn with_finalizer(value: T, finalizer: Finalizer<T>, is_async: bool) -> Owned<T> {
        let ticket = Ticket::new(type_name::<T>());
        let inner = Arc::new(Inner::new(ticket, Content { value, finalizer }, is_async));
        own(&(Arc::clone(&inner) as Arc<dyn Resource>));
        Owned { inner }
    }

    /// Borrows the value. The current task must own it.
    ///
    /// # Errors
    ///
    /// * [`OwnedError::NotOwner`] if another task owns the value (see [`check`](crate::check())).
    /// * [`OwnedError::Finalized`] if the value is finalized.
    /// * [`OwnedError::Borrowed`] if a guard of the value is alive.
    #[track_caller]
    pub fn get(&self) -> Result<OwnedRef<'_, T>, OwnedError> {
        check(self)?;
        Ok(OwnedRef { borrow: self.inner.borrow()? })
    }

    /// Borrows the value mutably. The current task becomes its owner.
    ///
    /// # Errors
    ///
    /// * [`OwnedError::Finalized`] if the value is finalized.
    /// * [`OwnedError::Borrowed`] if a guard of the value was leaked.
    #[track_caller]
    pub fn get_mut(&mut self) -> Result<OwnedMut<'_, T>, OwnedError> {
        adopt(self)?;
        Ok(OwnedMut { borrow: self.inner.borrow()? })
    }

    /// Takes the value out. It is no longer a resource, and its finalizer never runs.
    ///
    /// # Errors
    ///
    /// The same as [`get_mut`](Owned::get_mut). If a guard was leaked, the value is leaked too.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::Owned;
    ///
    /// let owned = Owned::new(String::from("kept"), |_| unreachable!());
    /// assert_eq!(owned.into_inner()?, "kept");
    /// # Ok::<(), matou_ownership::OwnedError>(())
    /// ```
    pub fn into_inner(self) -> Result<T, OwnedError> {
        // Take the value first: a thread that finalizes it from now on finds no content.
        let taken = self.inner.take();
        let _detached = self.inner.ticket().begin_finalize();
        match taken {
            Ok(content) => Ok(content.value),
            Err(error) => Err(self.inner.describe(error)),
        }
    }

    /// Returns the description of the value, for reports.
    pub fn info(&self) -> ResourceInfo {
        self.inner.ticket().info()
    }
}

impl<T: Send + 'static> ResourceHandle for Owned<T> {
    #[inline]
    fn ticket(&self) -> &Ticket {
        self.inner.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        Arc::clone(&self.inner) as Arc<dyn Resource>
    }
}

impl<T: Send + 'static> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.inner.has_async_finalizer() {
            defer(self);
        } else {
            crate::release::release(self);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owned").field("ticket", self.inner.ticket()).finish_non_exhaustive()
    }
}
