//! A count of permits: one state word and one wait list. `RwLock` and `OnceCell` are built on it.
//!
//! # The state word
//!
//! ```text
//!      PERMIT ..... WAITING CLOSED
//!     [ count ]     [ bit ] [ bit ]
//! ```
//!
//! `WAITING` is set when a waiter enters the list and cleared by a release that finds the list
//! empty; both happen under the lock of the list. While it is clear, acquiring and releasing take
//! one compare-exchange each.
//!
//! # Why no wake-up is lost
//!
//! **Invariant:** if there are permits for the first waiter in the line, apart from those that are
//! offered to others, then a task is about to offer them.
//!
//! - [`enqueue`](RawSemaphore::enqueue) takes permits, or sets `WAITING`, in one read-modify-write
//!   under the lock of the list. The release that follows finds the bit set and, for its offers,
//!   has to wait until the waiter is in the line.
//! - Each release that finds the bit set makes offers. So does a waiter that has taken its permits,
//!   one that was polled and has to wait on, and one that is dropped: they may have left permits
//!   that now are for another one.
//! - A waiter that declines passes its offer on to the next one, which is polled then.

use std::fmt;
use std::panic::Location;
use std::task::{Context, Poll, ready};

use matou_hooks::{TaskKey, Wait};

use crate::error::{AcquireError, TryAcquireError};
use crate::primitives::{AtomicUsize, Ordering, const_fn};
use crate::waiting::{Kind, Request, Reserve, WaitList, WaiterKey};

/// Set when the semaphore is closed, for ever.
const CLOSED: usize = 1;

/// Set while the list may have waiters.
const WAITING: usize = CLOSED << 1;

/// One permit.
const PERMIT: usize = WAITING << 1;

/// One bit less than there is room for, so that a sum of two counts does not overflow.
pub(crate) const PERMITS_MAX: usize = usize::MAX >> 3;

const fn permits(state: usize) -> usize {
    state / PERMIT
}

const fn is_closed(state: usize) -> bool {
    state & CLOSED != 0
}

/// Returns the state after `amount` permits were taken, if that is possible.
fn take(state: usize, amount: usize) -> Result<usize, TryAcquireError> {
    if is_closed(state) {
        Err(TryAcquireError::Closed)
    } else if permits(state) < amount {
        Err(TryAcquireError::NoPermits)
    } else {
        Ok(state - amount * PERMIT)
    }
}

/// Permits and the tasks that wait for them.
pub(crate) struct RawSemaphore {
    /// See above.
    state: AtomicUsize,
    /// The data of each waiter is the number of permits that it requests.
    waiters: WaitList,
}

impl RawSemaphore {
    const_fn! {
        /// `permits` must not be more than [`PERMITS_MAX`].
        pub(crate) fn new(permits: usize) -> Self {
            Self {
                state: AtomicUsize::new(permits * PERMIT),
                waiters: WaitList::new(Kind::Acquire),
            }
        }
    }

    pub(crate) fn available(&self) -> usize {
        permits(self.state.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        is_closed(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// Returns whether tasks may wait. A snapshot for reports.
    #[inline]
    pub(crate) fn may_have_waiters(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITING != 0
    }

    /// Takes permits if that is possible at once and no task waits. Returns how many there were.
    #[inline]
    pub(crate) fn try_acquire(&self, amount: usize) -> Result<usize, TryAcquireError> {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 {
            let after = take(state, amount)?;
            // Acquire pairs with the release in `release`.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.state.compare_exchange_weak(state, after, success, failure) {
                Ok(_) => return Ok(permits(state)),
                Err(current) => state = current,
            }
        }
        self.try_acquire_contended(amount)
    }

    #[cold]
    fn try_acquire_contended(&self, amount: usize) -> Result<usize, TryAcquireError> {
        let result = self.waiters.as_newcomer(|waiters| match waiters {
            0 => self.take(amount),
            // Such a request keeps no permit from any task.
            _ if amount == 0 => self.take(0),
            _ => Err(self.refusal(amount)),
        });
        if result.is_err() && self.available() >= amount {
            self.offer(Reserve::ForNewcomer);
        }
        result
    }

    /// The reason why a newcomer gets nothing while others wait.
    fn refusal(&self, amount: usize) -> TryAcquireError {
        take(self.state.load(Ordering::Relaxed), amount).err().unwrap_or(TryAcquireError::NoPermits)
    }

    /// Takes permits whether or not others wait. Returns how many there were.
    fn take(&self, amount: usize) -> Result<usize, TryAcquireError> {
        let mut refusal = TryAcquireError::NoPermits;
        // Acquire pairs with the release in `release`.
        let before = self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
            take(state, amount).map_err(|reason| refusal = reason).ok()
        });
        before.map(permits).map_err(|_| refusal)
    }

    /// Adds a waiter, or takes permits if there are enough and no other task waits.
    #[cold]
    fn enqueue(
        &self,
        request: Request,
        cx: &Context<'_>,
    ) -> Result<WaiterKey, Result<usize, AcquireError>> {
        let take_or_wait = |_, waiters: usize| {
            let may_take = waiters == 0;
            let change = |state| match take(state, request.data) {
                Ok(after) if may_take => Some(after),
                Err(TryAcquireError::Closed) => None,
                // fault: semaphore-waiter-not-marked
                _ => Some(state | WAITING),
            };
            // Acquire pairs with the release in `release`.
            match self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, change) {
                Err(_) => Some(Err(AcquireError)),
                Ok(state) if may_take && permits(state) >= request.data => Some(Ok(permits(state))),
                Ok(_) => None,
            }
        };
        let key = self.waiters.enqueue(cx, request, take_or_wait)?;
        // The waiters ahead of this one may keep it from permits that they do not take.
        self.offer(Reserve::ForWaiters);
        Ok(key)
    }

    /// Waits for permits. `Ready` means that the waiter is used up.
    #[cold]
    fn poll_waiter(
        &self,
        waiter: WaiterKey,
        (task, amount): (Option<TaskKey>, usize),
        cx: &Context<'_>,
    ) -> Poll<Result<usize, AcquireError>> {
        let poll = self.waiters.poll(waiter, task, cx, |turn| match turn.reserved() {
            0 => match self.take(amount) {
                Ok(before) => Some(Ok(before)),
                Err(TryAcquireError::Closed) => Some(Err(AcquireError)),
                Err(TryAcquireError::NoPermits) => None,
            },
            _ => self.is_closed().then_some(Err(AcquireError)),
        });
        // Permits that this waiter has left, or could not use, may be for another one.
        // fault: semaphore-keeps-the-rest
        self.offer(Reserve::No);
        poll
    }

    /// Removes a waiter that gives up. Permits that it was offered, or kept from others, go to the
    /// next one.
    fn cancel_wait(&self, waiter: WaiterKey) {
        self.waiters.remove(waiter);
        // fault: semaphore-dropped-waiter-bars-others
        self.offer(Reserve::ForWaiters);
    }

    /// Adds permits and wakes the waiters that can have them. The count stops at [`PERMITS_MAX`].
    #[inline]
    pub(crate) fn release(&self, amount: usize) {
        let add = |state| {
            // fault: semaphore-counter-wraps
            let added = amount.min(PERMITS_MAX - permits(state));
            Some(state + added * PERMIT)
        };
        // Release pairs with the acquire of whichever operation takes the permits.
        let before = self.state.fetch_update(Ordering::Release, Ordering::Relaxed, add);
        if before.is_ok_and(|state| state & WAITING != 0) {
            self.offer(Reserve::ForWaiters);
        }
    }

    /// Takes up to `amount` permits away, even if other tasks wait for them.
    pub(crate) fn forget(&self, amount: usize) -> usize {
        let remove = |state| Some(state - amount.min(permits(state)) * PERMIT);
        let before = self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, remove);
        amount.min(before.map_or(0, permits))
    }

    /// Ends all waits. Returns `false` if the semaphore was closed already.
    pub(crate) fn close(&self) -> bool {
        let before = self.state.fetch_or(CLOSED, Ordering::AcqRel);
        if before & WAITING != 0 {
            self.waiters.release_all();
        }
        !is_closed(before)
    }

    /// Offers the permits to waiters.
    #[cold]
    fn offer(&self, reserve: Reserve) {
        if self.available() == 0 {
            // The next release makes the offers.
            return;
        }
        self.waiters.offer_amount(reserve, |is_empty| {
            let state = match is_empty {
                // Under the lock no waiter can enter the list.
                true => self.state.fetch_and(!WAITING, Ordering::Relaxed),
                false => self.state.load(Ordering::Relaxed),
            };
            permits(state)
        });
    }
}

impl fmt::Debug for RawSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSemaphore")
            .field("available", &self.available())
            .field("waiters", &self.waiters())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// Permits that were taken.
pub(crate) struct Acquired {
    /// How many there were before.
    pub(crate) before: usize,
    /// The task that polled.
    pub(crate) task: Option<TaskKey>,
}

/// The common part of all futures that acquire permits. Its owner passes the same semaphore to each
/// call, and calls [`cancel`](Self::cancel) when it is dropped.
#[derive(Debug)]
pub(crate) struct Acquiring {
    amount: usize,
    called_at: &'static Location<'static>,
    /// `None` as long as the future had no need to wait.
    waiter: Option<WaiterKey>,
}

impl Acquiring {
    pub(crate) fn new(amount: usize, called_at: &'static Location<'static>) -> Self {
        Self { amount, called_at, waiter: None }
    }

    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    pub(crate) fn called_at(&self) -> &'static Location<'static> {
        self.called_at
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiter.is_some()
    }

    /// Takes the permits, or reports the wait that `describe` completes.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        semaphore: &RawSemaphore,
        cx: &mut Context<'_>,
        (operation, describe): (&'static str, impl FnOnce(Wait) -> Wait),
    ) -> Poll<Result<Acquired, AcquireError>> {
        let amount = self.amount;
        let (task, poll) = match self.waiter {
            None => {
                // Only here: a waiter takes the permits that it was woken for, whatever the budget.
                let task = ready!(matou_hooks::begin_operation(cx));
                match semaphore.try_acquire(amount) {
                    Ok(before) => return Poll::Ready(Ok(Acquired { before, task })),
                    Err(TryAcquireError::Closed) => return Poll::Ready(Err(AcquireError)),
                    Err(TryAcquireError::NoPermits) => {}
                }
                let request = Request { task, at: self.called_at, data: amount };
                let poll = match semaphore.enqueue(request, cx) {
                    Err(result) => Poll::Ready(result),
                    Ok(waiter) => {
                        self.waiter = Some(waiter);
                        Poll::Pending
                    }
                };
                (task, poll)
            }
            Some(waiter) => {
                let task = matou_hooks::current_task();
                (task, semaphore.poll_waiter(waiter, (task, amount), cx))
            }
        };
        match poll {
            Poll::Pending => {
                matou_hooks::on_wait(&describe(Wait::new(operation, self.called_at)), cx);
                Poll::Pending
            }
            Poll::Ready(result) => {
                self.waiter = None;
                Poll::Ready(result.map(|before| Acquired { before, task }))
            }
        }
    }

    /// Leaves the line.
    pub(crate) fn cancel(&mut self, semaphore: &RawSemaphore) {
        if let Some(waiter) = self.waiter.take() {
            semaphore.cancel_wait(waiter);
        }
    }
}
