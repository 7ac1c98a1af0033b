use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::settle::let_go;
use crate::{FinalizeStatus, Ledger, OwnedError, Resource, Ticket};

pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// Finalizers of this thread that were begun by a `Release` which was dropped half-way. They
    /// are not `Send`, so the ledger cannot keep them; the settlement asks for them here.
    static HALF_DONE: RefCell<HashMap<Key, LocalFuture>> = RefCell::new(HashMap::new());
}

/// The address and the id of a `Shared`, which are unique together: ids are so within a source
/// only.
type Key = (usize, u64);

/// The part of an `Owned` that its ledger knows.
pub(crate) struct Shared<T> {
    ticket: Ticket,
    /// Whether the finalizer is asynchronous.
    is_async: bool,
    /// `None` once somebody has taken the content, to finalize or to keep it.
    content: Mutex<Option<Content<T>>>,
    /// Whether `content` is `None`, for those who do not hold the lock.
    taken: AtomicBool,
    /// Whether the finalizer should have run, but the content was borrowed. Whoever gives it back
    /// makes up for it.
    missed: AtomicBool,
}

/// A value and what finalizes it.
pub(crate) struct Content<T> {
    pub(crate) value: T,
    pub(crate) finalizer: Finalizer<T>,
}

/// What runs the finalizer, or makes the future that does.
pub(crate) type Finalizer<T> = Box<dyn FnOnce(T) -> Option<LocalFuture> + Send>;

/// Why the content of a `Shared` was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeError {
    Taken,
    Borrowed,
}

impl<T: Send + 'static> Shared<T> {
    pub(crate) fn new(ticket: Ticket, content: Content<T>, is_async: bool) -> Shared<T> {
        Shared {
            ticket,
            is_async,
            content: Mutex::new(Some(content)),
            taken: AtomicBool::new(false),
            missed: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(crate) fn has_async_finalizer(&self) -> bool {
        self.is_async
    }

    pub(crate) fn borrow(&self) -> Result<Borrow<'_, T>, OwnedError> {
        let guard = self.try_lock().map_err(|error| self.describe(error))?;
        Ok(Borrow { shared: self, guard: Some(guard) })
    }

    /// Takes the content out. The caller finalizes or keeps it.
    pub(crate) fn take(&self) -> Result<Content<T>, TakeError> {
        let content = self.try_lock()?.take().ok_or(TakeError::Taken)?;
        self.taken.store(true, Ordering::SeqCst);
        Ok(content)
    }

    /// Takes the content out for whoever is alone with a young value. No lock is needed.
    #[inline]
    pub(crate) fn take_alone(&mut self) -> Option<Content<T>> {
        let is_ours = self.ticket.finish_alone();
        self.content.get_mut().unwrap_or_else(PoisonError::into_inner).take_if(|_| is_ours)
    }

    pub(crate) fn describe(&self, error: TakeError) -> OwnedError {
        match error {
            TakeError::Taken => OwnedError::Finalized(self.ticket.info()),
            TakeError::Borrowed => OwnedError::Borrowed(self.ticket.info()),
        }
    }

    /// Keeps the rest of a finalizer for the settlement, which is to come on this thread.
    pub(crate) fn keep_half_done(&self, future: LocalFuture) {
        // Where the thread-local is gone there will be no settlement either.
        let _ = HALF_DONE.try_with(|half_done| {
            let stale = half_done.borrow_mut().insert(self.key(), future);
            drop(stale);
        });
        if self.ticket.is_finalized() {
            // The settlement was elsewhere, and is over.
            drop(self.take_half_done());
        }
    }

    fn take_half_done(&self) -> Option<LocalFuture> {
        HALF_DONE.try_with(|half_done| half_done.borrow_mut().remove(&self.key())).ok().flatten()
    }

    fn key(&self) -> Key {
        (std::ptr::from_ref(self) as usize, self.ticket.id())
    }

    /// Takes the content for the finalizer, or sees to it that whoever has borrowed it will.
    fn take_or_leave_word(&self) -> Result<Content<T>, TakeError> {
        self.take().or_else(|error| {
            if error == TakeError::Taken {
                return Err(error);
            }
            // The borrower gives back, then looks for word; we leave word, then look whether it was
            // given back. The fences see to it that one of the two sees the other.
            self.missed.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.take()
        })
    }

    /// Locks the content if there is any and nobody has borrowed it.
    fn try_lock(&self) -> Result<MutexGuard<'_, Option<Content<T>>>, TakeError> {
        let guard = match self.content.try_lock() {
            Ok(guard) => guard,
            // A panic of the borrower is no reason not to finalize.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(TakeError::Borrowed),
        };
        if guard.is_some() { Ok(guard) } else { Err(TakeError::Taken) }
    }
}

impl<T: Send + 'static> Resource for Shared<T> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        let rest = match self.take_or_leave_word() {
            Ok(content) => content.finalize(),
            Err(TakeError::Taken) => self.take_half_done(),
            Err(TakeError::Borrowed) => panic!(
                "{} is borrowed, so its finalizer has to wait until the guard is dropped; if the \
                 guard was leaked, it never runs",
                self.ticket.info()
            ),
        };
        rest.map_or(FinalizeStatus::Done, FinalizeStatus::Pending)
    }

    fn is_async(&self) -> bool {
        // What is half done can be continued on its own thread only.
        self.is_async && !self.taken.load(Ordering::SeqCst)
    }
}

impl<T> Content<T> {
    /// Runs the finalizer, or makes the future that does.
    pub(crate) fn finalize(self) -> Option<LocalFuture> {
        (self.finalizer)(self.value)
    }
}

/// The content of a `Shared`, locked.
pub(crate) struct Borrow<'a, T: Send + 'static> {
    shared: &'a Shared<T>,
    /// Holds some content; it is `None` only in `drop`.
    guard: Option<MutexGuard<'a, Option<Content<T>>>>,
}

impl<T: Send + 'static> Borrow<'_, T> {
    pub(crate) fn value(&self) -> &T {
        let content = self.guard.as_ref().and_then(|guard| guard.as_ref());
        &content.expect("there is content while it is borrowed").value
    }

    pub(crate) fn value_mut(&mut self) -> &mut T {
        let content = self.guard.as_mut().and_then(|guard| guard.as_mut());
        &mut content.expect("there is content while it is borrowed").value
    }
}

impl<T: Send + 'static> Drop for Borrow<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        // Pairs with the fence in `take_or_leave_word`.
        fence(Ordering::SeqCst);
        if self.shared.missed.load(Ordering::SeqCst) {
            finalize_after_all(self.shared);
        }
    }
}

/// Finalizes what was borrowed when its owner ended. There is nobody left to report to.
#[cold]
fn finalize_after_all<T: Send + 'static>(shared: &Shared<T>) {
    if let Ok(content) = shared.take() {
        let ledger = Ledger::new();
        let ticket = Ticket::new(shared.ticket.kind());
        ledger.receive(vec![Arc::new(Shared::new(ticket, content, shared.is_async))]);
        let_go(ledger);
    }
}
