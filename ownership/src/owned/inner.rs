use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::error::OwnedError;
use crate::background::finalize_detached;
use crate::finalize::LocalFuture;
use crate::panic_message::panic_message;
use crate::registry::{FinalizeStatus, Ledger, Resource, Ticket};

thread_local! {
    /// Finalizers of this thread that a [`Release`](super::Release) started and was dropped before
    /// they completed. They are not `Send`, so the ledger cannot hold them. The owner's end takes
    /// them from here.
    static SUSPENDED: Suspended = Suspended::default();
}

#[derive(Default)]
struct Suspended {
    futures: RefCell<HashMap<Key, LocalFuture>>,
}

impl Drop for Suspended {
    /// Drops what is left at the end of the thread. A panic that leaves the destructor of a
    /// thread-local aborts the process.
    fn drop(&mut self) {
        for (_, future) in self.futures.take() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
                drop(panic_message(payload));
            }
        }
    }
}

/// The address and the id of an `Inner`. Ids are unique within one source only, but two values with
/// the same id have different addresses.
type Key = (usize, u64);

/// The resource of an `Owned`.
pub(super) struct Inner<T> {
    ticket: Ticket,
    /// `true` if the finalizer is asynchronous.
    is_async: bool,
    /// `None` once the content has been taken, to finalize or to keep it.
    content: Mutex<Option<Content<T>>>,
    /// `true` once `content` is `None`; readable without the lock.
    taken: AtomicBool,
    /// `true` if the finalizer was due while the content was borrowed. The borrower runs it when it
    /// returns the content.
    finalize_pending: AtomicBool,
}

/// A value and its finalizer.
pub(super) struct Content<T> {
    pub(super) value: T,
    pub(super) finalizer: Finalizer<T>,
}

/// Runs a synchronous finalizer, or returns the future of an asynchronous one.
pub(super) type Finalizer<T> = Box<dyn FnOnce(T) -> Option<LocalFuture> + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakeError {
    Taken,
    Borrowed,
}

impl<T: Send + 'static> Inner<T> {
    pub(super) fn new(ticket: Ticket, content: Content<T>, is_async: bool) -> Inner<T> {
        Inner {
            ticket,
            is_async,
            content: Mutex::new(Some(content)),
            taken: AtomicBool::new(false),
            finalize_pending: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(super) fn has_async_finalizer(&self) -> bool {
        self.is_async
    }

    pub(super) fn borrow(&self) -> Result<Borrow<'_, T>, OwnedError> {
        let guard = self.try_lock().map_err(|error| self.describe(error))?;
        Ok(Borrow { inner: self, guard: Some(guard) })
    }

    /// Takes the content. The caller must finalize or keep it.
    pub(super) fn take(&self) -> Result<Content<T>, TakeError> {
        let content = self.try_lock()?.take().ok_or(TakeError::Taken)?;
        self.taken.store(true, Ordering::SeqCst);
        Ok(content)
    }

    pub(super) fn describe(&self, error: TakeError) -> OwnedError {
        match error {
            TakeError::Taken => OwnedError::Finalized(self.ticket.info()),
            TakeError::Borrowed => OwnedError::Borrowed(self.ticket.info()),
        }
    }

    /// Stores a finalizer that has not completed, so that the owner's end continues it on this
    /// thread.
    pub(super) fn suspend(&self, future: LocalFuture) {
        // If the thread-local is destroyed, no task ends on this thread any more.
        let _ = SUSPENDED.try_with(|suspended| {
            let previous = suspended.futures.borrow_mut().insert(self.key(), future);
            drop(previous);
        });
        if self.ticket.is_finalized() {
            // The owner has ended on another thread in the meantime, without this finalizer.
            drop(self.take_suspended());
        }
    }

    fn take_suspended(&self) -> Option<LocalFuture> {
        let take = |suspended: &Suspended| suspended.futures.borrow_mut().remove(&self.key());
        SUSPENDED.try_with(take).ok().flatten()
    }

    fn key(&self) -> Key {
        (std::ptr::from_ref(self) as usize, self.ticket.id())
    }

    /// Takes the content to finalize it. If it is borrowed, the borrower finalizes it later.
    fn take_or_mark_pending(&self) -> Result<Content<T>, TakeError> {
        self.take().or_else(|error| {
            if error == TakeError::Taken {
                return Err(error);
            }
            // The borrower unlocks the content, then reads the mark. This thread sets the mark,
            // then tries the lock again. With a fence between both steps on both sides, at least
            // one of the two threads observes the other.
            self.finalize_pending.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.take()
        })
    }

    /// Locks the content, unless it is taken or borrowed.
    fn try_lock(&self) -> Result<MutexGuard<'_, Option<Content<T>>>, TakeError> {
        let guard = match self.content.try_lock() {
            Ok(guard) => guard,
            // The finalizer must run even if a borrower has panicked.
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Err(TakeError::Borrowed),
        };
        if guard.is_some() { Ok(guard) } else { Err(TakeError::Taken) }
    }
}

impl<T: Send + 'static> Resource for Inner<T> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        let future = match self.take_or_mark_pending() {
            Ok(content) => content.finalize(),
            Err(TakeError::Taken) => self.take_suspended(),
            Err(TakeError::Borrowed) => panic!(
                "{} is borrowed, so its finalizer runs when the guard is dropped; if the guard was \
                 leaked, it never runs",
                self.ticket.info()
            ),
        };
        future.map_or(FinalizeStatus::Done, FinalizeStatus::Pending)
    }

    fn is_async(&self) -> bool {
        // A suspended finalizer can continue only on its own thread.
        self.is_async && !self.taken.load(Ordering::SeqCst)
    }
}

impl<T> Content<T> {
    /// Runs the finalizer, or returns its future if it is asynchronous.
    pub(super) fn finalize(self) -> Option<LocalFuture> {
        (self.finalizer)(self.value)
    }
}

/// The locked content of an `Inner`.
pub(super) struct Borrow<'a, T: Send + 'static> {
    inner: &'a Inner<T>,
    /// Contains content. `None` only during `drop`.
    guard: Option<MutexGuard<'a, Option<Content<T>>>>,
}

impl<T: Send + 'static> Borrow<'_, T> {
    pub(super) fn value(&self) -> &T {
        let content = self.guard.as_ref().and_then(|guard| guard.as_ref());
        &content.expect("borrowed content is present").value
    }

    pub(super) fn value_mut(&mut self) -> &mut T {
        let content = self.guard.as_mut().and_then(|guard| guard.as_mut());
        &mut content.expect("borrowed content is present").value
    }
}

impl<T: Send + 'static> Drop for Borrow<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        // Pairs with the fence in `take_or_mark_pending`.
        fence(Ordering::SeqCst);
        if self.inner.finalize_pending.load(Ordering::SeqCst) {
            finalize_pending(self.inner);
        }
    }
}

/// Finalizes a value that was borrowed when its owner ended. There is no owner left to report to.
#[cold]
fn finalize_pending<T: Send + 'static>(inner: &Inner<T>) {
    if let Ok(content) = inner.take() {
        let ledger = Ledger::new();
        let ticket = Ticket::new(inner.ticket.kind());
        ledger.receive(vec![Arc::new(Inner::new(ticket, content, inner.is_async))]);
        finalize_detached(ledger);
    }
}
