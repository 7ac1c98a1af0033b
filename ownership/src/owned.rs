use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use crate::current::finalizing;
use crate::shared::{Borrow, Content, Finalizer, LocalFuture, Shared};
use crate::sys::{Sabotage, sabotaged};
use crate::ticket::UNOWNED;
use crate::verbs::leave_to_owner;
use crate::{
    AccessError, NotOwner, Resource, ResourceHandle, ResourceInfo, Ticket, adopt, check, defer,
    nursery, release,
};

/// A value with a finalizer that runs exactly once, however the task that owns it ends.
///
/// It belongs to the task that makes it, and follows the rules of all resources: it is finalized
/// when it is released or dropped, or else when its owner ends, even if it lies in a `static` or
/// was forgotten. The finalizer takes the value, so nothing can be finalized twice by its nature.
///
/// In an `Arc` it may be shared. Of several tasks only the owner can [`get`](Owned::get) the value.
///
/// # Examples
///
/// ```
/// use matou_ownership::Owned;
/// use std::sync::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// let mut owned = Owned::new(vec![1], move |list| sender.send(list).expect("somebody listens"));
/// owned.get_mut()?.push(2);
/// assert_eq!(owned.get()?.len(), 2);
/// drop(owned);
/// assert_eq!(receiver.recv(), Ok(vec![1, 2]));
/// # Ok::<(), matou_ownership::OwnedError>(())
/// ```
///
/// What was handed over cannot be used, or closed, behind the finalizer's back:
///
/// ```compile_fail,E0382
/// use matou_ownership::Owned;
/// use std::fs::File;
///
/// let file = File::open("/dev/null")?;
/// let owned = Owned::new(file, drop);
/// drop(file); // The descriptor would be closed twice.
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Owned<T: Send + 'static> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Owned<T> {
    /// Makes a value of the current task, to be finalized by `finalizer`.
    ///
    /// Dropping the handle runs the finalizer there and then. If it panics, so does the drop,
    /// unless the thread is panicking already; then the panic is caught, and recorded for the
    /// owner's [`FinalizeReport`](crate::FinalizeReport).
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
    #[track_caller]
    pub fn new(value: T, finalizer: impl FnOnce(T) + Send + 'static) -> Owned<T> {
        let finalizer = Box::new(move |value| {
            finalizer(value);
            None
        });
        Owned::with_finalizer(value, finalizer, false)
    }

    /// Makes a value of the current task, to be finalized by the future that `finalizer` makes.
    ///
    /// The closure may be sent to the owner's thread; the future stays there and need not be
    /// `Send`.
    ///
    /// Dropping the handle leaves the value to its owner, who finalizes it when it ends. That is
    /// no leak, but it keeps the value until then; `release().await` finalizes now. If nobody
    /// owns the value and the drop is outside any scope, the finalizer runs on a thread of its
    /// own, for which nobody waits: the process may end before.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
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
        let ticket = Ticket::young(type_name::<T>());
        let is_owned = ticket.owner() != UNOWNED;
        let shared = Arc::new(Shared::new(ticket, Content { value, finalizer }, is_async));
        if is_owned {
            nursery::admit(shared.ticket(), Arc::clone(&shared) as Arc<dyn Resource>);
        }
        Owned { shared }
    }

    /// Takes the content of a young value out, if nobody else knows the value: then nobody else can
    /// have a say in its end, and no lock is needed.
    fn take_young(&mut self) -> Option<Content<T>> {
        let entry = nursery::take(self.shared.ticket())?;
        if sabotaged(Sabotage::YoungThoughtAlone) {
            return self.shared.take().ok();
        }
        // Careful to drop this one first, as ours has to be the last reference.
        drop(entry);
        Arc::get_mut(&mut self.shared)?.take_alone()
    }

    /// Borrows the value, as its owner.
    ///
    /// # Errors
    ///
    /// [`OwnedError::NotOwner`] if another task owns it (see [`check`]),
    /// [`OwnedError::Finalized`] if it is finalized, and [`OwnedError::Borrowed`] if a guard of
    /// it is alive.
    #[track_caller]
    pub fn get(&self) -> Result<OwnedRef<'_, T>, OwnedError> {
        check(self)?;
        Ok(OwnedRef { borrow: self.shared.borrow()? })
    }

    /// Borrows the value mutably. The current task becomes its owner.
    ///
    /// # Errors
    ///
    /// [`OwnedError::Finalized`] if it is finalized, and [`OwnedError::Borrowed`] if a guard of
    /// it was leaked.
    #[track_caller]
    pub fn get_mut(&mut self) -> Result<OwnedMut<'_, T>, OwnedError> {
        adopt(self)?;
        Ok(OwnedMut { borrow: self.shared.borrow()? })
    }

    /// Takes the value out. Nobody owns it as a resource any more, and its finalizer never runs.
    ///
    /// # Errors
    ///
    /// As for [`get_mut`](Owned::get_mut). If a guard was leaked, the value is lost with it.
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
        // With the value in our hands, whoever else would finalize it now finds nothing to do.
        let taken = self.shared.take();
        let _left = self.shared.ticket().finish();
        match taken {
            Ok(content) => Ok(content.value),
            Err(error) => Err(self.shared.describe(error)),
        }
    }

    /// Finalizes the value now.
    ///
    /// A synchronous finalizer has run when this returns, and the future has nothing left to do. An
    /// asynchronous one is run by the future, in the task that polls it, which becomes the owner;
    /// as long as it has not ended, that task's end waits for it.
    ///
    /// # Panics
    ///
    /// If a synchronous finalizer does.
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
        let progress = if self.shared.has_async_finalizer() {
            Progress::Waiting(self)
        } else {
            drop(self);
            Progress::Done
        };
        Release { progress }
    }

    /// Returns what a report says about the value.
    pub fn info(&self) -> ResourceInfo {
        self.shared.ticket().info()
    }
}

impl<T: Send + 'static> ResourceHandle for Owned<T> {
    #[inline]
    fn ticket(&self) -> &Ticket {
        self.shared.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        Arc::clone(&self.shared) as Arc<dyn Resource>
    }
}

impl<T: Send + 'static> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.shared.has_async_finalizer() {
            defer(self);
        } else if thread::panicking() {
            // A second panic has to be caught there.
            release(self);
        } else if let Some(content) = self.take_young() {
            let _finalizing = finalizing();
            content.finalize();
        } else {
            release(self);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owned").field("ticket", self.shared.ticket()).finish_non_exhaustive()
    }
}

/// Borrows the value of an [`Owned`].
///
/// If the value's owner ends meanwhile, which takes another thread, the finalizer is reported as
/// panicked, since it could not have the value; it runs when the guard is dropped.
pub struct OwnedRef<'a, T: Send + 'static> {
    borrow: Borrow<'a, T>,
}

impl<T: Send + 'static> Deref for OwnedRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.borrow.value()
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for OwnedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Borrows the value of an [`Owned`] mutably. See [`OwnedRef`].
pub struct OwnedMut<'a, T: Send + 'static> {
    borrow: Borrow<'a, T>,
}

impl<T: Send + 'static> Deref for OwnedMut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.borrow.value()
    }
}

impl<T: Send + 'static> DerefMut for OwnedMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.borrow.value_mut()
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for OwnedMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Runs an asynchronous finalizer; made by [`Owned::release`].
///
/// # Cancel safety
///
/// A finalizer is not cancelled. If this is dropped before the first poll, it is as if the
/// [`Owned`] was dropped. If it is dropped later, the settlement of the task that polled it, which
/// has become the owner, goes on with the finalizer from where it stood, provided that it runs on
/// the same thread, as it does in a runtime whose tasks stay on theirs. Where there is no such
/// settlement to come (outside any scope, or when the settlement is on another thread), what is
/// left of the finalizer is dropped.
#[must_use = "an asynchronous finalizer does not run now unless this is polled"]
pub struct Release<T: Send + 'static> {
    progress: Progress<T>,
}

enum Progress<T: Send + 'static> {
    Waiting(Owned<T>),
    /// Its content is taken, its ticket is not finalized yet: the owner waits for it.
    Running {
        owned: Owned<T>,
        future: LocalFuture,
    },
    Done,
}

// Nothing in it is pinned in place.
impl<T: Send + 'static> Unpin for Release<T> {}

impl<T: Send + 'static> Future for Release<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.progress = match std::mem::replace(&mut this.progress, Progress::Done) {
            Progress::Waiting(owned) => start(owned),
            progress => progress,
        };
        let Progress::Running { owned, future } = &mut this.progress else {
            return Poll::Ready(());
        };
        // Whether it ends or panics, it is not to be continued.
        let ended = FinishOnUnwind(owned);
        let finalizing = finalizing();
        let polled = future.as_mut().poll(cx);
        drop(finalizing);
        std::mem::forget(ended);
        if polled.is_ready() {
            let _left = owned.shared.ticket().finish();
            let progress = std::mem::replace(&mut this.progress, Progress::Done);
            drop_in_finalizer(progress);
        }
        polled
    }
}

/// Makes the future of the finalizer. A release is a use by value, so the current task becomes the
/// owner, and is the one that waits for it: the future cannot leave this thread.
fn start<T: Send + 'static>(owned: Owned<T>) -> Progress<T> {
    if adopt(&owned).is_err() {
        return Progress::Done;
    }
    leave_to_owner(&owned.resource());
    let Ok(content) = owned.shared.take() else {
        return Progress::Done;
    };
    let finish = FinishOnUnwind(&owned);
    let finalizing = finalizing();
    let future = content.finalize();
    drop(finalizing);
    std::mem::forget(finish);
    match future {
        Some(future) => Progress::Running { owned, future },
        None => Progress::Done,
    }
}

fn drop_in_finalizer<T>(value: T) {
    let _finalizing = finalizing();
    drop(value);
}

/// Marks a value as finalized when its finalizer panics.
struct FinishOnUnwind<'a, T: Send + 'static>(&'a Owned<T>);

impl<T: Send + 'static> Drop for FinishOnUnwind<'_, T> {
    fn drop(&mut self) {
        let _left = self.0.shared.ticket().finish();
    }
}

impl<T: Send + 'static> Drop for Release<T> {
    fn drop(&mut self) {
        let Progress::Running { owned, future } =
            std::mem::replace(&mut self.progress, Progress::Done)
        else {
            return;
        };
        let ticket = owned.shared.ticket();
        if !ticket.is_finalized() && leave_to_owner(&owned.resource()) {
            owned.shared.keep_half_done(future);
        } else {
            let _left = ticket.finish();
            drop_in_finalizer(future);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Release<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").finish_non_exhaustive()
    }
}

/// Why the value of an [`Owned`] was not to be had.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, OwnedError};
///
/// let owned = Owned::new(1, drop);
/// let guard = owned.get()?;
/// assert!(matches!(owned.get(), Err(OwnedError::Borrowed(_))));
/// drop(guard);
/// assert!(owned.get().is_ok());
/// # Ok::<(), OwnedError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OwnedError {
    /// It belongs to another task.
    NotOwner(NotOwner),
    /// Its finalizer has run, or has begun to.
    Finalized(ResourceInfo),
    /// A guard of it is alive. Waiting for that would be a deadlock, as the guard is one's own.
    Borrowed(ResourceInfo),
}

impl From<AccessError> for OwnedError {
    fn from(misuse: AccessError) -> OwnedError {
        match misuse {
            AccessError::NotOwner(fault) => OwnedError::NotOwner(fault),
            AccessError::Finalized(resource) => OwnedError::Finalized(resource),
        }
    }
}

impl fmt::Display for OwnedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedError::NotOwner(fault) => fault.fmt(f),
            OwnedError::Finalized(resource) => write!(f, "{resource} is finalized already"),
            OwnedError::Borrowed(resource) => {
                write!(f, "{resource} is borrowed already: drop the guard before the next `get`")
            }
        }
    }
}

impl Error for OwnedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OwnedError::NotOwner(fault) => Some(fault),
            OwnedError::Finalized(_) | OwnedError::Borrowed(_) => None,
        }
    }
}
