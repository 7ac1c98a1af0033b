//! Messages that arrive when they are sent.
//!
//! Senders and the receiver share a lock. A sender holds it for a few instructions. The receiver
//! takes it once for all messages that have arrived: it swaps the list for an empty one, whose
//! allocation is reused. So the work that a lock-free queue does at its receiving end for each
//! message (reading both ends, atomic operations, an allocation now and then) is done once for each
//! list.
//!
//! The first message is stored next to the lock, in the same cache line. Two domains that exchange
//! single messages transfer one cache line for each message, and nothing else.

use std::mem;
use std::sync::PoisonError;

use super::super::Message;
use crate::sys::atomic::{AtomicBool, Ordering};
use crate::sys::lock::{Mutex, MutexGuard};

/// The largest capacity of a list whose allocation is reused.
const KEPT_CAPACITY: usize = 1024;

/// Messages from many senders to one receiver.
#[repr(C, align(64))]
pub(crate) struct ImmediateQueue {
    /// Whether the list contains a message. Written under the lock, read without it.
    non_empty: AtomicBool,
    /// Whether the queue is closed. Accessed under the lock.
    closed: AtomicBool,
    list: Mutex<List>,
}

/// **Invariant:** if there is no first message, the rest is empty.
#[repr(C)]
struct List {
    first: Option<Message>,
    rest: Vec<Message>,
}

// Lock and first message share a cache line. (On other systems the lock may be larger.)
#[cfg(all(not(loom), target_os = "linux", target_pointer_width = "64"))]
const _: () =
    assert!(mem::offset_of!(ImmediateQueue, list) + size_of::<Mutex<Option<Message>>>() <= 64);

impl ImmediateQueue {
    pub(super) fn new() -> ImmediateQueue {
        let list = List { first: None, rest: Vec::new() };
        let (non_empty, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        ImmediateQueue { non_empty, closed, list: Mutex::new(list) }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message. Returns `true` if the queue was empty, in which case the caller must notify
    /// the receiver.
    ///
    /// # Errors
    ///
    /// The message, if the queue is closed.
    #[inline]
    pub(super) fn push(&self, message: Message) -> Result<bool, Message> {
        let mut list = self.list();
        if self.closed.load(Ordering::Relaxed) {
            return Err(message);
        }
        if list.first.is_some() {
            list.rest.push(message);
            return Ok(false);
        }
        list.first = Some(message);
        self.non_empty.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Returns whether there is no message. A receiver that parks if this is true must synchronize
    /// with senders; see `parker`.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.non_empty.load(Ordering::Relaxed)
    }

    /// Takes all messages: returns the oldest one, and puts the others into `rest`, which must be
    /// empty, in the order in which they were sent.
    pub(super) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        debug_assert!(rest.is_empty());
        // The allocation of a flood of messages is not kept.
        if rest.capacity() > KEPT_CAPACITY {
            *rest = Vec::new();
        }
        let mut list = self.list();
        if !list.rest.is_empty() {
            mem::swap(&mut list.rest, rest);
        }
        self.non_empty.store(false, Ordering::Relaxed);
        list.first.take()
    }

    /// Closes the queue: later messages are refused.
    pub(super) fn close(&self) {
        let _list = self.list();
        self.closed.store(true, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn numbered(group: u32) -> Message {
        Message::GroupDropped { group }
    }

    fn number(message: Message) -> u32 {
        match message {
            Message::GroupDropped { group } => group,
            other => unreachable!("a {} was not sent", other.kind()),
        }
    }

    /// Takes all messages.
    fn numbers(queue: &ImmediateQueue) -> Vec<u32> {
        let mut rest = Vec::new();
        let first = queue.take(&mut rest);
        first.into_iter().chain(rest).map(number).collect()
    }

    fn push_all(queue: &ImmediateQueue, messages: std::ops::Range<u32>) -> Vec<bool> {
        messages.map(|n| queue.push(numbered(n)).expect("the queue is open")).collect()
    }

    #[test]
    fn messages_are_taken_in_the_order_in_which_they_were_sent() {
        let queue = ImmediateQueue::new();
        for count in [0, 1, 2, 5, 3 * KEPT_CAPACITY as u32] {
            push_all(&queue, 0..count);
            assert_eq!(queue.is_empty(), count == 0);
            assert_eq!(numbers(&queue), Vec::from_iter(0..count));
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn only_the_first_message_in_an_empty_queue_notifies() {
        let queue = ImmediateQueue::new();
        for _ in 0..2 {
            assert_eq!(push_all(&queue, 0..3), [true, false, false]);
            numbers(&queue);
        }
    }

    #[test]
    fn the_allocation_of_a_flood_is_freed() {
        let queue = ImmediateQueue::new();
        let mut rest = Vec::new();
        for (sent, kept) in [(KEPT_CAPACITY as u32, true), (3 * KEPT_CAPACITY as u32, false)] {
            push_all(&queue, 0..sent);
            queue.take(&mut rest);
            rest.clear();
            push_all(&queue, 0..1);
            queue.take(&mut rest);
            assert_eq!(rest.capacity() > 0, kept);
        }
    }

    #[test]
    fn a_closed_queue_refuses_messages_and_keeps_earlier_ones() {
        let queue = ImmediateQueue::new();
        push_all(&queue, 0..2);
        queue.close();
        let back = queue.push(numbered(7)).map_err(number);
        assert_eq!(back, Err(7));
        assert_eq!(numbers(&queue), [0, 1]);
    }
}
