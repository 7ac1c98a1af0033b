//! The tasks of a domain that are ready to be polled.

use std::collections::VecDeque;

use crate::random::Random;
use crate::task::Slot;

/// After how many polls of a round newly woken tasks join the next round.
const ROUND_POLLS_MAX: u32 = 256;

/// The ready tasks of a domain. Each task is in the queue at most once.
pub(crate) enum RunQueue {
    /// Polls tasks in the order in which they were woken, those that woke themselves last.
    Fifo(FifoQueue),
    /// Polls tasks in an order that is drawn from the seed of a simulated run.
    Random(RandomQueue),
}

/// Ready tasks in the order in which they were woken.
///
/// A task that wakes itself yields: all other ready tasks are polled first, including those that
/// the driver wakes next. So tasks that compute and yield delay the answer to a client by at most
/// one of their polls. To prevent starvation, each tick polls at least one yielded task, once all
/// tasks are polled that were ready before it.
#[derive(Default)]
pub(crate) struct FifoQueue {
    woken: VecDeque<Slot>,
    /// How many tasks have left `woken` so far.
    polled: u64,
    /// The tasks that woke themselves, each with the value of `polled` at which all tasks are
    /// polled that were ready before it.
    yielded: VecDeque<(Slot, u64)>,
    /// Whether this tick has polled one of those.
    yielded_polled: bool,
}

/// The task to be polled next, and whether it had woken itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) slot: Slot,
    pub(crate) yielded: bool,
}

/// Ready tasks in rounds: the next task is drawn from the first round.
///
/// The order of wake-ups matters only as far as [`yield_now`](crate::yield_now) promises: a task
/// that wakes itself is polled after all tasks that were ready before. It is added to the round
/// after the one that other tasks are added to. A round is bounded, so that two tasks that wake
/// each other forever do not starve the tasks of the next round.
#[derive(Default)]
pub(crate) struct RandomQueue {
    rounds: VecDeque<Vec<Slot>>,
    /// How many polls the first round has had.
    polls: u32,
}

impl RunQueue {
    pub(crate) fn fifo() -> RunQueue {
        RunQueue::Fifo(FifoQueue::default())
    }

    pub(crate) fn random_order() -> RunQueue {
        RunQueue::Random(RandomQueue::default())
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            RunQueue::Fifo(queue) => queue.woken.is_empty() && queue.yielded.is_empty(),
            RunQueue::Random(rounds) => rounds.rounds.is_empty(),
        }
    }

    pub(crate) fn has_several(&self) -> bool {
        match self {
            RunQueue::Fifo(queue) => queue.woken.len() + queue.yielded.len() > 1,
            RunQueue::Random(queue) => queue.rounds.iter().map(Vec::len).sum::<usize>() > 1,
        }
    }

    /// Begins a tick: the driver has been polled since the last one.
    #[inline]
    pub(crate) fn begin_tick(&mut self) {
        if let RunQueue::Fifo(queue) = self {
            queue.yielded_polled = false;
        }
    }

    /// At the end of a tick: takes a yielded task if the tick has polled none.
    #[inline]
    pub(crate) fn pop_starved_yielded(&mut self) -> Option<Slot> {
        match self {
            RunQueue::Fifo(queue) => queue.pop_starved_yielded(),
            RunQueue::Random(_) => None,
        }
    }

    /// Adds a task. `running` is the task that wakes it, or `NIL`.
    #[inline]
    pub(crate) fn push(&mut self, task: Slot, running: Slot) {
        match self {
            RunQueue::Fifo(queue) if task == running => {
                let eligible_at = queue.polled + queue.woken.len() as u64;
                queue.yielded.push_back((task, eligible_at));
            }
            RunQueue::Fifo(queue) => queue.woken.push_back(task),
            RunQueue::Random(rounds) => rounds.push(task, running),
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self, random: &Random) -> Option<Next> {
        match self {
            RunQueue::Fifo(queue) => queue.pop(),
            RunQueue::Random(rounds) => {
                rounds.pop(random).map(|slot| Next { slot, yielded: false })
            }
        }
    }
}

impl FifoQueue {
    #[inline]
    fn pop_starved_yielded(&mut self) -> Option<Slot> {
        let &(slot, eligible_at) = self.yielded.front().filter(|_| !self.yielded_polled)?;
        if eligible_at > self.polled {
            return None;
        }
        self.yielded.pop_front();
        Some(slot)
    }

    #[inline]
    fn pop(&mut self) -> Option<Next> {
        if let Some(slot) = self.woken.pop_front() {
            self.polled += 1;
            return Some(Next { slot, yielded: false });
        }
        let (slot, _) = self.yielded.pop_front()?;
        self.yielded_polled = true;
        Some(Next { slot, yielded: true })
    }
}

impl RandomQueue {
    fn push(&mut self, task: Slot, running: Slot) {
        let by_itself = task == running;
        let round = usize::from(self.polls >= ROUND_POLLS_MAX) + usize::from(by_itself);
        while self.rounds.len() <= round {
            self.rounds.push_back(Vec::new());
        }
        self.rounds[round].push(task);
    }

    fn pop(&mut self, random: &Random) -> Option<Slot> {
        while self.rounds.front().is_some_and(Vec::is_empty) {
            self.rounds.pop_front();
            self.polls = 0;
        }
        let round = self.rounds.front_mut()?;
        self.polls += 1;
        let task = round.swap_remove(random.below(round.len()));
        while self.rounds.back().is_some_and(Vec::is_empty) {
            self.rounds.pop_back();
        }
        if self.rounds.is_empty() {
            self.polls = 0;
        }
        Some(task)
    }
}
