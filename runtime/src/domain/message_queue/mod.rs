//! The messages to a domain.

mod immediate;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use immediate::ImmediateQueue;

use super::Message;
use crate::random::Random;
use crate::test::Clock;

/// How messages come to a domain.
pub(crate) enum MessageQueue {
    /// A message is there when it was sent.
    Immediate(ImmediateQueue),
    /// The moment at which a message arrives is drawn from the seed.
    Delayed(DelayedQueue),
}

/// Messages that are under way, for runs that are to be repeated.
///
/// They arrive in the order in which they were sent, as they do in a real inbox; anything else
/// would show faults that no program can have.
pub(crate) struct DelayedQueue {
    clock: Arc<Clock>,
    state: Mutex<State>,
}

struct State {
    messages: VecDeque<(Instant, Message)>,
    random: Random,
    closed: bool,
}

impl MessageQueue {
    pub(crate) fn immediate() -> MessageQueue {
        MessageQueue::Immediate(ImmediateQueue::new())
    }

    pub(crate) fn delayed(clock: Arc<Clock>, random: Random) -> MessageQueue {
        let state = State { messages: VecDeque::new(), random, closed: false };
        MessageQueue::Delayed(DelayedQueue { clock, state: Mutex::new(state) })
    }

    /// Sends a message; it comes back if the domain is gone. Returns whether the domain has to be
    /// told: if not, another sender does it, or has done it.
    #[inline]
    pub(crate) fn push(&self, message: Message) -> Result<bool, Message> {
        match self {
            MessageQueue::Immediate(inbox) => inbox.push(message),
            MessageQueue::Delayed(delayed) => delayed.push(message).map(|()| true),
        }
    }

    /// Whether no message has arrived.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            MessageQueue::Immediate(inbox) => inbox.is_empty(),
            MessageQueue::Delayed(delayed) => delayed.arrived() == 0,
        }
    }

    /// Takes what has arrived: returns what was sent first, and puts the rest, in the order in
    /// which it was sent, into a list that is empty.
    pub(crate) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        match self {
            MessageQueue::Immediate(inbox) => inbox.take(rest),
            MessageQueue::Delayed(delayed) => delayed.take(rest),
        }
    }

    /// When the next message arrives; known only where that is drawn.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        match self {
            MessageQueue::Immediate(_) => None,
            MessageQueue::Delayed(delayed) => {
                delayed.state().messages.front().map(|(arrival, _)| *arrival)
            }
        }
    }

    pub(crate) fn close(&self) {
        match self {
            MessageQueue::Immediate(inbox) => inbox.close(),
            MessageQueue::Delayed(delayed) => delayed.close(),
        }
    }
}

impl DelayedQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state();
        if state.closed {
            return Err(message);
        }
        let arrival = self.clock.now() + delay(&state.random);
        let earliest = state.messages.back().map_or(arrival, |(last, _)| *last);
        state.messages.push_back((arrival.max(earliest), message));
        Ok(())
    }

    fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        let arrived = self.arrived();
        let mut state = self.state();
        let mut messages = state.messages.drain(..arrived).map(|(_, message)| message);
        let first = messages.next();
        rest.extend(messages);
        first
    }

    fn arrived(&self) -> usize {
        let now = self.clock.now();
        self.state().messages.iter().take_while(|(arrival, _)| *arrival <= now).count()
    }

    /// Nobody reads any more. What was under way arrives now, for the domain to drop it.
    fn close(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.closed = true;
        state.messages.iter_mut().for_each(|(arrival, _)| *arrival = now);
    }
}

/// How long a message is under way: mostly not at all, sometimes long enough that timers fire
/// before it arrives.
fn delay(random: &Random) -> Duration {
    match random.below(8) {
        // fault: messages-immediate
        0..4 => Duration::ZERO,
        4..7 => Duration::from_nanos(random.below(100_000) as u64),
        _ => Duration::from_nanos(random.below(5_000_000) as u64),
    }
}
