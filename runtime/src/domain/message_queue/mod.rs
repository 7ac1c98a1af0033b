//! The queue of messages to a domain.

mod delayed;
mod immediate;

use std::sync::Arc;
use std::time::Instant;

use delayed::DelayedQueue;
use immediate::ImmediateQueue;

use super::Message;
use crate::random::Random;
use crate::simulation::VirtualClock;

/// A queue with many senders and one receiver, the domain.
pub(crate) enum MessageQueue {
    /// A message arrives when it is sent.
    Immediate(ImmediateQueue),
    /// A message arrives at a time that is drawn from the seed of a simulated run.
    Delayed(DelayedQueue),
}

impl MessageQueue {
    pub(crate) fn immediate() -> MessageQueue {
        MessageQueue::Immediate(ImmediateQueue::new())
    }

    pub(crate) fn delayed(clock: Arc<VirtualClock>, random: Random) -> MessageQueue {
        MessageQueue::Delayed(DelayedQueue::new(clock, random))
    }

    /// Sends a message. Returns `true` if the sender must notify the domain, and `false` if another
    /// sender does that.
    ///
    /// # Errors
    ///
    /// The message, if the queue is closed.
    #[inline]
    pub(crate) fn push(&self, message: Message) -> Result<bool, Message> {
        match self {
            MessageQueue::Immediate(queue) => queue.push(message),
            MessageQueue::Delayed(queue) => queue.push(message).map(|()| true),
        }
    }

    /// Returns whether no message has arrived.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            MessageQueue::Immediate(queue) => queue.is_empty(),
            MessageQueue::Delayed(queue) => queue.is_empty(),
        }
    }

    /// Returns whether a message was sent that was not taken, arrived or not.
    pub(crate) fn has_messages(&self) -> bool {
        !self.is_empty() || self.next_arrival().is_some()
    }

    /// Takes the messages that have arrived: returns the oldest one, and appends the others to
    /// `rest`, which must be empty, in the order in which they were sent.
    pub(crate) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        match self {
            MessageQueue::Immediate(queue) => queue.take(rest),
            MessageQueue::Delayed(queue) => queue.take(rest),
        }
    }

    /// Returns when the next message arrives, if that is drawn from a seed.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        match self {
            MessageQueue::Immediate(_) => None,
            MessageQueue::Delayed(queue) => queue.next_arrival(),
        }
    }

    /// Closes the queue. Later messages are refused; earlier ones can still be taken.
    pub(crate) fn close(&self) {
        match self {
            MessageQueue::Immediate(queue) => queue.close(),
            MessageQueue::Delayed(queue) => queue.close(),
        }
    }
}
