//! An event that costs its caller one load while nobody waits.
//!
//! `Event::notify` locks the list of listeners each time. A queue is pushed to and popped from far
//! more often than somebody waits, so the waiters count themselves, and the caller asks the count:
//!
//! ```text
//! opener:  change the queue;  fence;  look at the count    -> notify if it is not 0
//! waiter:  count up;  listen;  fence;  look at the queue   -> wait if nothing has changed
//! ```
//!
//! With both fences sequentially consistent, either the opener sees the count or the waiter sees
//! the change. The models fail without the opener's fence and without the second look.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use event_listener::{Event, EventListener, Listener};

use crate::sys::{self, AtomicUsize, Ordering, Sabotage, fence};

/// Where tasks wait for a change of a queue.
#[derive(Debug)]
pub(crate) struct Gate {
    /// How many [`Turn`]s there are. It cannot overflow: each one owns an allocation.
    waiting: AtomicUsize,
    changed: Event,
}

impl Gate {
    sys::const_constructor! {
        pub(crate) fn new() -> Self {
            Self { waiting: AtomicUsize::new(0), changed: Event::new() }
        }
    }

    /// Wakes one more waiter, the first in the line. To be called after the change.
    #[inline]
    pub(crate) fn open_one(&self) {
        if !sys::sabotaged(Sabotage::GateWithoutFence) {
            fence(Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.notify(1);
        }
    }

    /// Wakes all. To be called after the change.
    pub(crate) fn open_all(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.notify(usize::MAX);
        }
    }

    #[cold]
    fn notify(&self, count: usize) {
        sys::foreign_call();
        self.changed.notify_additional(count);
    }

    /// Stands in the line. The caller must look at the queue again before it waits.
    #[cold]
    pub(crate) fn listen(&self) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        sys::foreign_call();
        let listener = Some(self.changed.listen());
        fence(Ordering::SeqCst);
        Turn { gate: self, listener }
    }
}

/// A place in the line of a gate. If it is dropped after it was called, the next one is called.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    gate: &'a Gate,
    /// `None` only while this is dropped.
    listener: Option<EventListener>,
}

impl Turn<'_> {
    /// Waits to be called. Once it is `Ready`, the call is used up.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        sys::foreign_call();
        self.listener.as_mut().map_or(Poll::Ready(()), |listener| Pin::new(listener).poll(cx))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        sys::foreign_call();
        // Out of the line first: while it is in there, it has to be counted.
        match self.listener.take() {
            Some(listener) if sys::sabotaged(Sabotage::TurnKeepsItsCall) => {
                listener.discard();
            }
            listener => drop(listener),
        }
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
