//! A wait list whose notifier pays one fence and one load while no task waits.
//!
//! A queue is used far more often than a task waits for it, so the waiters are counted, and the
//! notifier reads the count before it locks the list:
//!
//! ```text
//! notifier:  change the state;  fence;  read the count        -> offer unless it is 0
//! waiter:    lock the list;  count itself;  fence;  look at the state   -> enter unless it changed
//! ```
//!
//! Both fences are sequentially consistent. So either the notifier reads a count that includes the
//! waiter, or the waiter sees the changed state. In the first case the notifier locks the list: if
//! that is before the waiter looks at the state, the lock makes the change visible to it; if it is
//! later, the waiter is in the line.
//!
//! A waiter that was overtaken looks at the state and returns to the line under one lock. Its count
//! has been visible since it entered, so the same holds for each later change.

use std::task::{Context, Poll};

use super::wait_list::{Kind, WaitList};
use super::waiters::{Request, WaiterKey};
use crate::primitives::{AtomicUsize, Ordering, const_fn, fence};

/// Lets tasks wait until another task has changed some state that has its own synchronization.
#[derive(Debug)]
pub(crate) struct Notify {
    /// How many [`Waiting`]s are in the list. Cannot overflow, since each needs memory.
    waiters: AtomicUsize,
    list: WaitList,
}

impl Notify {
    const_fn! {
        pub(crate) fn new(kind: Kind) -> Self {
            Self { waiters: AtomicUsize::new(0), list: WaitList::new(kind) }
        }
    }

    /// Offers a change to the first waiter that has none. Call it after changing the state.
    #[inline]
    pub(crate) fn notify_one(&self) {
        // Pairs with the fence in `poll`.
        // fault: notify-without-fence
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.list.offer();
        }
    }

    /// Releases all waiters. Call it after changing the state.
    pub(crate) fn notify_all(&self) {
        // Pairs with the fence in `poll`.
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.list.release_all();
        }
    }

    /// Returns how many tasks wait, including those with an open offer.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Calls `attempt` with the number of items that it must leave to waiters that were overtaken
    /// too often.
    #[inline]
    pub(crate) fn as_newcomer<R>(&self, attempt: impl FnOnce(usize) -> R) -> R {
        match self.list.reserved() {
            0 => attempt(0),
            _ => self.list.as_newcomer(attempt),
        }
    }
}

/// A future's place in the list. Dropping it takes the waiter out; an offer to it is passed on.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    notify: &'a Notify,
    place: Place,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(notify: &'a Notify) -> Self {
        Self { notify, place: Place::new() }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.place.is_waiting()
    }

    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// See [`Place::poll`].
    pub(crate) fn poll<R>(
        &mut self,
        cx: &Context<'_>,
        request: Request,
        attempt: impl FnMut(usize) -> Option<R>,
    ) -> Poll<R> {
        self.place.poll(self.notify, cx, request, attempt)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.place.leave(self.notify);
    }
}

/// A place in the list of a [`Notify`] that is owned by the same value as the place. The owner
/// passes the `Notify` to each call, and calls [`leave`](Self::leave) when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// `None` before the first poll, and after the last one.
    key: Option<WaiterKey>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { key: None }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.key.is_some()
    }

    /// Waits until `attempt` returns a result. It gets the number of items that it must leave to
    /// others, and runs under the lock of the list.
    pub(crate) fn poll<R>(
        &mut self,
        notify: &Notify,
        cx: &Context<'_>,
        request: Request,
        mut attempt: impl FnMut(usize) -> Option<R>,
    ) -> Poll<R> {
        let Notify { waiters, list } = notify;
        if let Some(key) = self.key {
            let poll = list.poll(key, request.task, cx, |turn| attempt(turn.reserved()));
            if poll.is_ready() {
                self.key = None;
                waiters.fetch_sub(1, Ordering::Relaxed);
            }
            return poll;
        }
        let enqueued = list.enqueue(cx, request, |_, reserved| {
            waiters.fetch_add(1, Ordering::Relaxed);
            // Pairs with the fences in `notify_one` and `notify_all`.
            fence(Ordering::SeqCst);
            // fault: queue-without-second-attempt
            let result = attempt(reserved);
            if result.is_some() {
                waiters.fetch_sub(1, Ordering::Relaxed);
            }
            result
        });
        match enqueued {
            Ok(key) => {
                self.key = Some(key);
                Poll::Pending
            }
            Err(result) => Poll::Ready(result),
        }
    }

    /// Takes the waiter out; an offer to it is passed on.
    pub(crate) fn leave(&mut self, notify: &Notify) {
        if let Some(key) = self.key.take() {
            // First, since a panic of another waiter's waker may leave `remove`.
            notify.waiters.fetch_sub(1, Ordering::Relaxed);
            notify.list.remove(key);
        }
    }
}
