//! The tasks of a domain that are to be polled.

use std::collections::VecDeque;

use crate::random::Random;
use crate::task::Slot;

/// How many polls a round of drawn tasks takes in before those woken later wait for the next one.
const ROUND_POLLS_MAX: u32 = 256;

/// The ready tasks, in the order in which they are polled.
pub(crate) enum RunQueue {
    /// In the order of their waking, but for those that woke themselves.
    Fifo(FifoQueue),
    /// In an order drawn from the seed; for runs that are to be repeated.
    Random(RandomQueue),
}

/// Ready tasks in the order of their waking.
///
/// A task that wakes itself lets all the others go first, also those that the next look at the
/// system's events wakes: tasks that compute and yield do not keep a client waiting for longer than
/// one of them computes at a stretch. But once those are polled that were ready before it, each
/// turn polls one of its kind at least, so nobody starves.
#[derive(Default)]
pub(crate) struct FifoQueue {
    woken: VecDeque<Slot>,
    /// How many have left `woken`.
    polled: u64,
    /// Those that woke themselves, each with what `polled` is when all are polled that were ready
    /// before it.
    yielded: VecDeque<(Slot, u64)>,
    /// Whether one of those was polled in this turn.
    yielded_polled: bool,
}

/// A task that is to be polled, and whether it had woken itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) slot: Slot,
    pub(crate) yielded: bool,
}

/// Ready tasks by rounds: the next one to be polled is any one of the first round.
///
/// What stays of the order of waking is what [`yield_now`](crate::yield_now) promises: a task that
/// wakes itself is polled after all those that were ready by then. It joins the round behind the
/// one that newcomers join. And a round is bounded, so that a task in the next one is not kept
/// waiting by two that wake each other for ever.
#[derive(Default)]
pub(crate) struct RandomQueue {
    rounds: VecDeque<Vec<Slot>>,
    /// How many polls of the first round there were.
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

    /// Begins a turn: the system's events were looked at.
    #[inline]
    pub(crate) fn begin_tick(&mut self) {
        if let RunQueue::Fifo(queue) = self {
            queue.yielded_polled = false;
        }
    }

    /// At the end of a turn: one that woke itself, if none of those was polled.
    #[inline]
    pub(crate) fn pop_starved_yielded(&mut self) -> Option<Slot> {
        match self {
            RunQueue::Fifo(queue) => queue.pop_starved_yielded(),
            RunQueue::Random(_) => None,
        }
    }

    /// Adds a task; `running` is the one that wakes it, if one does.
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
