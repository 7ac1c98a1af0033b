//! The deadlines of one domain.
//!
//! Most timers are the timeouts of a server: set for later than all the others, and dropped before
//! they fire. So timers lie unsorted, by spans of some milliseconds; to put one in or to take one
//! out is a step or two, and the span that was used last is at hand. Only when the first timer of a
//! span is due is the whole span sorted, and drained from its end. What is set for a span that is
//! sorted already goes into a heap beside it. Each timer has a place that knows where it is; what
//! is dropped from a sorted span only leaves its place, and is skipped when its turn comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::task::Waker;
use std::time::Instant;

use slab::Slab;

use crate::domain::Domain;
use crate::random::Random;
use crate::task::NodeKey;

/// How long a span is, as a power of two in nanoseconds: 4 ms.
const SPAN_BITS: u32 = 22;
/// How many emptied spans are kept for the next ones.
const SPARE_MAX: usize = 4;

/// Names a timer, also after it has fired and its place was taken by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    place: u32,
    count: u64,
}

/// When it is a timer's turn: equal deadlines are told apart by the order of their making, in a
/// simulated run by a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    deadline: Instant,
    tie: u32,
    count: u64,
    place: u32,
}

#[derive(Debug)]
struct Place {
    /// Which span the timer belongs to, and where in it the timer is unless it is sorted.
    span: u64,
    index: u32,
    /// Tells it from those that were here before.
    count: u64,
    sleeper: Sleeper,
}

/// Who is woken by a timer.
#[derive(Debug)]
pub(crate) enum Sleeper {
    /// A task of the timer's own domain, in its own name: no waker has to be counted for it.
    Task(NodeKey),
    Other(Waker),
}

impl Sleeper {
    /// Whoever `waker` wakes.
    #[inline]
    pub(crate) fn of(waker: &Waker, domain: &Domain) -> Sleeper {
        match domain.is_current_waker(waker) {
            true => Sleeper::Task(domain.current_key()),
            false => Sleeper::Other(waker.clone()),
        }
    }

    /// Whether it is known to be whoever `waker` wakes.
    fn is(&self, waker: &Waker, domain: &Domain) -> bool {
        match self {
            Sleeper::Task(key) => domain.is_current_waker(waker) && *key == domain.current_key(),
            Sleeper::Other(known) => known.will_wake(waker),
        }
    }
}

/// Timers that are not sorted yet.
#[derive(Debug, Default)]
struct Span {
    turns: Vec<Turn>,
    /// None is sooner than this. The one that was may have been dropped. Meaningless if empty.
    first: Option<Instant>,
}

/// The timers of a domain, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The beginning of the first span.
    begun: Option<Instant>,
    /// The last span that is sorted.
    near: u64,
    /// What is left of it, the soonest last.
    sorted: Vec<Turn>,
    /// What was set for it after it was sorted.
    newer: BinaryHeap<Reverse<Turn>>,
    /// The spans after it.
    later: BTreeMap<u64, Span>,
    /// The span that was used last, if it is one of those; it is not among them, and may be empty.
    at_hand: (u64, Span),
    spare: Vec<Vec<Turn>>,
    places: Slab<Place>,
    count: u64,
    /// What the order of equal deadlines is drawn from, if it is not that of their making.
    ties: Option<Random>,
}

impl Timers {
    /// Makes timers that fire in any order if their deadlines are equal.
    pub(crate) fn drawn(ties: Random) -> Timers {
        Timers { ties: Some(ties), ..Timers::default() }
    }

    pub(crate) fn insert(&mut self, deadline: Instant, sleeper: Sleeper) -> TimerKey {
        self.count += 1;
        let tie = self.ties.as_ref().map_or(0, |ties| ties.next() as u32);
        let (count, span) = (self.count, self.span_of(deadline));
        if span > self.near && self.at_hand.0 != span {
            self.reach_for(span);
        }
        let index = self.at_hand.1.turns.len() as u32;
        let place = self.places.insert(Place { span, index, count, sleeper }) as u32;
        let turn = Turn { deadline, tie, count, place };
        if span <= self.near {
            self.newer.push(Reverse(turn));
        } else {
            self.at_hand.1.add(turn);
        }
        TimerKey { place, count }
    }

    fn span_of(&mut self, deadline: Instant) -> u64 {
        let begun = *self.begun.get_or_insert(deadline);
        let since = deadline.saturating_duration_since(begun);
        // Beyond some centuries all are in one span.
        let nanos = since.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(since.subsec_nanos()));
        // Span 0 is never used: it counts as sorted from the beginning.
        (nanos >> SPAN_BITS) + 1
    }

    /// Puts the span at hand back, and takes this one.
    #[cold]
    fn reach_for(&mut self, number: u64) {
        let span = self.later.remove(&number);
        let span = span
            .unwrap_or_else(|| Span { turns: self.spare.pop().unwrap_or_default(), first: None });
        let (old_number, old) = std::mem::replace(&mut self.at_hand, (number, span));
        if old.turns.is_empty() {
            self.keep(old.turns);
        } else {
            self.later.insert(old_number, old);
        }
    }

    fn keep(&mut self, emptied: Vec<Turn>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(emptied);
        }
    }

    /// Takes a timer out. Returns who was to be woken, unless it has fired; to be dropped when the
    /// timers are not borrowed.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Sleeper> {
        let &mut Place { span: number, index, .. } = self.find(key)?;
        if number > self.near {
            let is_at_hand = number == self.at_hand.0;
            let elsewhere = if is_at_hand { None } else { self.later.get_mut(&number) };
            let turns = &mut elsewhere.unwrap_or(&mut self.at_hand.1).turns;
            turns.swap_remove(index as usize);
            if let Some(moved) = turns.get(index as usize) {
                self.places[moved.place as usize].index = index;
            } else if turns.is_empty() && !is_at_hand {
                let emptied = self.later.remove(&number);
                self.keep(emptied.unwrap_or_default().turns);
            }
        }
        Some(self.places.remove(key.place as usize).sleeper)
    }

    /// Whether a timer that has not fired wakes whoever `waker` wakes; `None` if it has.
    #[inline]
    pub(crate) fn wakes(&mut self, key: TimerKey, waker: &Waker, domain: &Domain) -> Option<bool> {
        Some(self.find(key)?.sleeper.is(waker, domain))
    }

    /// Has a timer that has not fired wake somebody else, and returns who it was.
    pub(crate) fn redirect(&mut self, key: TimerKey, sleeper: Sleeper) -> Option<Sleeper> {
        Some(std::mem::replace(&mut self.find(key)?.sleeper, sleeper))
    }

    fn find(&mut self, key: TimerKey) -> Option<&mut Place> {
        self.places.get_mut(key.place as usize).filter(|place| place.count == key.count)
    }

    /// No timer is due before this moment. Rarely none is due at it either, if one was dropped.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.places.is_empty() { None } else { self.first_deadline() }
    }

    /// As [`next_deadline`](Timers::next_deadline), though all may have been dropped.
    fn first_deadline(&self) -> Option<Instant> {
        match (self.sorted.last(), self.newer.peek()) {
            (Some(turn), None) | (None, Some(Reverse(turn))) => Some(turn.deadline),
            (Some(one), Some(Reverse(other))) => Some(one.deadline.min(other.deadline)),
            (None, None) => {
                let later = self.later.first_key_value().and_then(|(_, span)| span.first);
                later.into_iter().chain(self.at_hand.1.first()).min()
            }
        }
    }

    /// Takes out the timers that are due at `now`, soonest first.
    pub(crate) fn expire(&mut self, now: Instant, expired: &mut Vec<Sleeper>) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            match self.pop() {
                Some(turn) => {
                    let key = TimerKey { place: turn.place, count: turn.count };
                    if self.find(key).is_some() {
                        expired.push(self.places.remove(turn.place as usize).sleeper);
                    }
                }
                None => self.sort_next(),
            }
        }
    }

    /// Takes the soonest of those that are sorted.
    fn pop(&mut self) -> Option<Turn> {
        let is_newer = match (self.sorted.last(), self.newer.peek()) {
            (Some(one), Some(Reverse(other))) => other < one,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if is_newer { self.newer.pop().map(|Reverse(turn)| turn) } else { self.sorted.pop() }
    }

    /// Sorts the first of the later spans, when nothing is left of the one before.
    fn sort_next(&mut self) {
        let first = self.later.first_key_value().map(|(&number, _)| number);
        let is_at_hand =
            !self.at_hand.1.turns.is_empty() && first.is_none_or(|number| self.at_hand.0 < number);
        let (number, span) = match is_at_hand {
            true => std::mem::take(&mut self.at_hand),
            false => self.later.pop_first().expect("something is due"),
        };
        self.near = number;
        let emptied = std::mem::replace(&mut self.sorted, span.turns);
        self.keep(emptied);
        self.sorted.sort_unstable_by(|one, other| other.cmp(one));
    }
}

impl Span {
    fn add(&mut self, turn: Turn) {
        let first = self.first().map_or(turn.deadline, |first| first.min(turn.deadline));
        self.first = Some(first);
        self.turns.push(turn);
    }

    fn first(&self) -> Option<Instant> {
        self.first.filter(|_| !self.turns.is_empty())
    }
}

#[cfg(test)]
mod tests {
    //! Goal: timers come out in order, whatever was set and dropped meanwhile, and a name of one
    //! that is gone names nobody. Method: random operations, beside a sorted map.

    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn nobody() -> Sleeper {
        Sleeper::Other(Waker::noop().clone())
    }

    fn agrees_with_a_sorted_map(seed: u64) {
        let random = Random::for_domain(seed, 0);
        let begun = Instant::now();
        let mut timers = Timers::default();
        let (mut model, mut gone) = (BTreeMap::new(), Vec::new());
        for step in 0..2000_u64 {
            match random.below(10) {
                0..5 => {
                    let deadline = begun + Duration::from_micros(random.below(30_000) as u64);
                    let key = timers.insert(deadline, nobody());
                    model.insert((deadline, step), key);
                }
                5..8 if !model.is_empty() => {
                    let index = random.below(model.len());
                    let at = *model.keys().nth(index).expect("so many there are");
                    let key = model.remove(&at).expect("it is there");
                    assert!(timers.redirect(key, nobody()).is_some());
                    assert!(timers.remove(key).is_some());
                    gone.push(key);
                }
                _ => {
                    let now =
                        begun + Duration::from_micros(10 * step.min(random.below(2000) as u64));
                    let mut wakers = Vec::new();
                    timers.expire(now, &mut wakers);
                    let later = model.split_off(&(now + Duration::from_nanos(1), 0));
                    assert_eq!(wakers.len(), model.len());
                    gone.extend(std::mem::replace(&mut model, later).into_values());
                }
            }
            let first = model.keys().next().map(|(deadline, _)| *deadline);
            assert!(first.is_none() || timers.next_deadline() <= first, "nobody is missed");
            assert!(timers.next_deadline().is_some() || first.is_none());
            if let Some(&key) = gone.last() {
                assert!(timers.remove(key).is_none(), "it is gone");
            }
        }
        assert_eq!(timers.places.len(), model.len());
    }

    #[test]
    fn timers_come_out_in_order() {
        (0..50).for_each(agrees_with_a_sorted_map);
    }

    #[test]
    fn equal_deadlines_come_out_in_the_order_of_their_making() {
        let mut timers = Timers::default();
        let deadline = Instant::now();
        let keys: Vec<_> = (0..100).map(|_| timers.insert(deadline, nobody())).collect();
        timers.sort_next();
        for key in keys {
            assert_eq!(timers.pop().map(|turn| turn.place), Some(key.place));
        }
    }

    #[test]
    fn a_deadline_beyond_all_spans_is_one_as_well() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let ages = Duration::from_secs(u64::MAX / 4);
        let keys = [now, now.checked_add(ages).unwrap_or(now), now];
        let keys = keys.map(|deadline| timers.insert(deadline, nobody()));
        let mut due = Vec::new();
        timers.expire(now, &mut due);
        assert!(due.len() >= 2 && timers.remove(keys[0]).is_none());
        timers.remove(keys[1]);
        assert_eq!(timers.next_deadline(), None, "an empty span at hand has no deadline");
    }
}
