//! Messages that are there as soon as they are sent.
//!
//! Senders share a lock that each of them needs for a few instructions, and that the receiver needs
//! once for all the messages that have arrived meanwhile: it takes the list, and leaves an empty one
//! whose memory serves for those that come next. What a queue without locks does for each message
//! at its other end (a look at both ends, two locked instructions, a block now and then) is done
//! once for each list.
//!
//! The first message lies next to the lock, in the same line of the cache: two domains that talk to
//! each other, a message at a time, fetch one line from each other for each, and nothing else.

use std::mem;
use std::sync::PoisonError;

use super::Message;
use crate::sys::atomic::{AtomicBool, Ordering};
use crate::sys::lock::{Mutex, MutexGuard};

/// How many messages the memory of a list may have room for when it is to be used again.
const KEPT: usize = 1024;

/// Messages from many senders to one receiver.
#[repr(C, align(64))]
pub(crate) struct Inbox {
    /// Whether the receiver has to look. A list that is not empty is known, or about to be: who
    /// made it so says it.
    known: AtomicBool,
    /// Whether nobody receives any more. Belongs to the lock.
    closed: AtomicBool,
    list: Mutex<List>,
}

/// Invariant: there are no more messages if there is no first one.
#[repr(C)]
struct List {
    first: Option<Message>,
    more: Vec<Message>,
}

/// As much room as there is behind the lock.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(mem::offset_of!(Inbox, list) + size_of::<Mutex<Option<Message>>>() <= 64);

impl Inbox {
    pub(crate) fn new() -> Inbox {
        let list = List { first: None, more: Vec::new() };
        let (known, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Inbox { known, closed, list: Mutex::new(list) }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message; it comes back if nobody receives any more. Returns whether the receiver has
    /// to be told, which is so if all the messages before were taken.
    #[inline]
    pub(crate) fn push(&self, message: Message) -> Result<bool, Message> {
        let mut list = self.list();
        if self.closed.load(Ordering::Relaxed) {
            return Err(message);
        }
        if list.first.is_some() {
            list.more.push(message);
            return Ok(false);
        }
        list.first = Some(message);
        self.known.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether there is nothing to take. Whoever falls asleep on that has to agree with senders
    /// about it, see `bell`.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.known.load(Ordering::Relaxed)
    }

    /// Takes all messages: returns the one that was sent first, and puts the others, in the order
    /// in which they were sent, into a list that is empty.
    pub(crate) fn take(&self, more: &mut Vec<Message>) -> Option<Message> {
        debug_assert!(more.is_empty());
        if more.capacity() > KEPT {
            *more = Vec::new();
        }
        let mut list = self.list();
        if !list.more.is_empty() {
            mem::swap(&mut list.more, more);
        }
        self.known.store(false, Ordering::Relaxed);
        list.first.take()
    }

    /// From now on messages come back.
    pub(crate) fn close(&self) {
        let _list = self.list();
        self.closed.store(true, Ordering::Relaxed);
    }
}
