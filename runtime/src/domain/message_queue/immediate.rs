//! Messages that are there as soon as they are sent.
//!
//! Senders share a lock that each of them needs for a few instructions, and that the receiver needs
//! once for all the messages that have arrived meanwhile: it takes the list, and leaves an empty
//! one whose memory serves for those that come next. What a queue without locks does for each
//! message at its other end (a look at both ends, two locked instructions, a block now and then) is
//! done once for each list.
//!
//! The first message lies next to the lock, in the same line of the cache: two domains that talk to
//! each other, a message at a time, fetch one line from each other for each, and nothing else.

use std::mem;
use std::sync::PoisonError;

use super::super::Message;
use crate::sys::atomic::{AtomicBool, Ordering};
use crate::sys::lock::{Mutex, MutexGuard};

/// How many messages the memory of a list may have room for when it is to be used again.
const KEPT_CAPACITY: usize = 1024;

/// Messages from many senders to one receiver.
#[repr(C, align(64))]
pub(crate) struct ImmediateQueue {
    /// Whether there is a message. Set and cleared under the lock, asked without it.
    non_empty: AtomicBool,
    /// Whether nobody receives any more. Belongs to the lock.
    closed: AtomicBool,
    list: Mutex<List>,
}

/// Invariant: there are no more messages if there is no first one.
#[repr(C)]
struct List {
    first: Option<Message>,
    rest: Vec<Message>,
}

/// As much room as there is behind the lock, which on other systems may be larger.
#[cfg(all(not(loom), target_os = "linux", target_pointer_width = "64"))]
const _: () =
    assert!(mem::offset_of!(ImmediateQueue, list) + size_of::<Mutex<Option<Message>>>() <= 64);

impl ImmediateQueue {
    pub(crate) fn new() -> ImmediateQueue {
        let list = List { first: None, rest: Vec::new() };
        let (non_empty, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        ImmediateQueue { non_empty, closed, list: Mutex::new(list) }
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
            list.rest.push(message);
            return Ok(false);
        }
        list.first = Some(message);
        self.non_empty.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether there is nothing to take. Whoever falls asleep on that has to agree with senders
    /// about it, see `bell`.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.non_empty.load(Ordering::Relaxed)
    }

    /// Takes all messages: returns the one that was sent first, and puts the others, in the order
    /// in which they were sent, into a list that is empty.
    pub(crate) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        debug_assert!(rest.is_empty());
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

    /// From now on messages come back.
    pub(crate) fn close(&self) {
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

    /// Takes all that is there.
    fn numbers(queue: &ImmediateQueue) -> Vec<u32> {
        let mut rest = Vec::new();
        let first = queue.take(&mut rest);
        first.into_iter().chain(rest).map(number).collect()
    }

    fn push_all(queue: &ImmediateQueue, messages: std::ops::Range<u32>) -> Vec<bool> {
        messages.map(|n| queue.push(numbered(n)).ok().expect("it is open")).collect()
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
    fn only_who_sends_the_first_message_after_all_were_taken_tells_it() {
        let queue = ImmediateQueue::new();
        for _ in 0..2 {
            assert_eq!(push_all(&queue, 0..3), [true, false, false]);
            numbers(&queue);
        }
    }

    #[test]
    fn the_memory_of_a_flood_is_given_back() {
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
    fn nothing_is_sent_to_who_receives_no_more() {
        let queue = ImmediateQueue::new();
        push_all(&queue, 0..2);
        queue.close();
        let back = queue.push(numbered(7)).map_err(number);
        assert_eq!(back, Err(7));
        assert_eq!(numbers(&queue), [0, 1]);
    }
}
