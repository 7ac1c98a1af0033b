//! The messages to a domain.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use concurrent_queue::ConcurrentQueue;

use super::Message;
use crate::random::Random;
use crate::test::Clock;

/// The inbox of a domain.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each domain, and the large one is the hot one"
)]
pub(crate) enum Mail {
    /// A message is there when it was sent.
    AtOnce(ConcurrentQueue<Message>),
    /// The moment at which a message arrives is drawn from the seed.
    Late(Late),
}

/// Messages that are under way, for runs that are to be repeated.
///
/// They arrive in the order in which they were sent, as they do in a real inbox; anything else
/// would show faults that no program can have.
pub(crate) struct Late {
    clock: Arc<Clock>,
    state: Mutex<State>,
}

struct State {
    messages: VecDeque<(Instant, Message)>,
    random: Random,
    closed: bool,
}

impl Mail {
    pub(crate) fn at_once() -> Mail {
        Mail::AtOnce(ConcurrentQueue::unbounded())
    }

    pub(crate) fn late(clock: Arc<Clock>, random: Random) -> Mail {
        let state = State { messages: VecDeque::new(), random, closed: false };
        Mail::Late(Late { clock, state: Mutex::new(state) })
    }

    /// Sends a message; it comes back if the domain is gone.
    #[inline]
    pub(crate) fn push(&self, message: Message) -> Result<(), Message> {
        match self {
            Mail::AtOnce(queue) => queue.push(message).map_err(|error| error.into_inner()),
            Mail::Late(late) => late.push(message),
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Message> {
        match self {
            Mail::AtOnce(queue) => queue.pop().ok(),
            Mail::Late(late) => late.pop(),
        }
    }

    /// How many messages have arrived.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Mail::AtOnce(queue) => queue.len(),
            Mail::Late(late) => late.arrived(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Mail::AtOnce(queue) => queue.is_empty(),
            Mail::Late(late) => late.arrived() == 0,
        }
    }

    /// When the next message arrives; known only where that is drawn.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        match self {
            Mail::AtOnce(_) => None,
            Mail::Late(late) => late.state().messages.front().map(|(arrival, _)| *arrival),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Mail::AtOnce(queue) => drop(queue.close()),
            Mail::Late(late) => late.close(),
        }
    }
}

impl Late {
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

    fn pop(&self) -> Option<Message> {
        let now = self.clock.now();
        let mut state = self.state();
        let (arrival, _) = state.messages.front()?;
        if *arrival > now {
            return None;
        }
        state.messages.pop_front().map(|(_, message)| message)
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
        0..4 => Duration::ZERO,
        4..7 => Duration::from_nanos(random.below(100_000) as u64),
        _ => Duration::from_nanos(random.below(5_000_000) as u64),
    }
}
