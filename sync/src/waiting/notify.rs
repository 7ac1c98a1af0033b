//! An event whose notifier pays one fence and one load while no task waits.
//!
//! `Event::notify` locks the list of listeners on every call. A queue is used far more often than a
//! task waits for it, so the listeners are counted, and the notifier reads the count first:
//!
//! ```text
//! notifier:  change the state;  fence;  read the count        -> notify unless it is 0
//! waiter:    count itself;  listen;  fence;  read the state   -> wait unless it has changed
//! ```
//!
//! Both fences are sequentially consistent. So either the notifier reads a count that includes the
//! waiter, or the waiter reads the changed state.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use event_listener::{Event, EventListener};

use crate::primitives::{AtomicUsize, Ordering, const_fn, fence};

/// Lets tasks wait until another task has changed some state.
#[derive(Debug)]
pub(crate) struct Notify {
    /// How many [`Listener`]s exist. Cannot overflow, since each one owns an allocation.
    listeners: AtomicUsize,
    event: Event,
}

impl Notify {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { listeners: AtomicUsize::new(0), event: Event::new() }
        }
    }

    /// Wakes the first listener that has not been notified. Call it after changing the state.
    #[inline]
    pub(crate) fn notify_one(&self) {
        // Pairs with the fence in `listen`.
        // fault: notify-without-fence
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) > 0 {
            self.notify(1);
        }
    }

    /// Wakes all listeners. Call it after changing the state.
    pub(crate) fn notify_all(&self) {
        // Pairs with the fence in `listen`.
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) > 0 {
            self.notify(usize::MAX);
        }
    }

    #[cold]
    fn notify(&self, count: usize) {
        // "Additional": two changes wake two listeners, even if the first one has not run yet.
        self.event.notify_additional(count);
    }

    /// Starts to listen. The caller must check the state once more before it waits.
    #[cold]
    pub(crate) fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        let listener = Some(self.event.listen());
        // Pairs with the fences in `notify_one` and `notify_all`.
        fence(Ordering::SeqCst);
        Listener { notify: self, listener }
    }
}

/// Waits for one notification. If it is dropped after it was notified and before
/// [`poll`](Self::poll) has returned `Ready`, the notification goes to the next listener.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    notify: &'a Notify,
    /// `None` only while `drop` runs.
    listener: Option<EventListener>,
}

impl Listener<'_> {
    /// Waits for a notification. `Ready` consumes it; drop the listener then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.listener.as_mut().map_or(Poll::Ready(()), |listener| Pin::new(listener).poll(cx))
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        // Leave the event before counting down: as long as the event could choose this listener,
        // the count must include it.
        // fault: listener-keeps-notification
        drop(self.listener.take());
        self.notify.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}
