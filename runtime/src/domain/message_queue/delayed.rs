use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::Message;
use crate::random::Random;
use crate::simulation::VirtualClock;

/// Messages with a delay that is drawn from the seed of a simulated run.
///
/// They arrive in the order in which they were sent, as in a real queue. Another order would show
/// faults that no program can have.
pub(crate) struct DelayedQueue {
    clock: Arc<VirtualClock>,
    state: Mutex<State>,
}

struct State {
    /// The messages with their arrival times, in the order of both.
    messages: VecDeque<(Instant, Message)>,
    random: Random,
    closed: bool,
}

impl DelayedQueue {
    pub(super) fn new(clock: Arc<VirtualClock>, random: Random) -> DelayedQueue {
        let state = State { messages: VecDeque::new(), random, closed: false };
        DelayedQueue { clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state();
        if state.closed {
            return Err(message);
        }
        let arrival = self.clock.now() + draw_delay(&state.random);
        // A message does not overtake an earlier one.
        let earliest = state.messages.back().map_or(arrival, |(last, _)| *last);
        state.messages.push_back((arrival.max(earliest), message));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrived() == 0
    }

    pub(super) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        let arrived = self.arrived();
        let mut state = self.state();
        let mut messages = state.messages.drain(..arrived).map(|(_, message)| message);
        let first = messages.next();
        rest.extend(messages);
        first
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.state().messages.front().map(|(arrival, _)| *arrival)
    }

    /// Returns how many messages have arrived.
    fn arrived(&self) -> usize {
        let now = self.clock.now();
        self.state().messages.iter().take_while(|(arrival, _)| *arrival <= now).count()
    }

    /// Closes the queue. All messages arrive now, so that the domain can drop them.
    pub(super) fn close(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.closed = true;
        state.messages.iter_mut().for_each(|(arrival, _)| *arrival = now);
    }
}

/// Draws the delay of a message: mostly none, sometimes long enough for timers to fire first.
fn draw_delay(random: &Random) -> Duration {
    match random.below(8) {
        // fault: messages-immediate
        0..4 => Duration::ZERO,
        4..7 => Duration::from_nanos(random.below(100_000) as u64),
        _ => Duration::from_nanos(random.below(5_000_000) as u64),
    }
}
