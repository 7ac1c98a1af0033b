//! A calendar queue: the deadlines of one domain, in buckets of a few milliseconds.
//!
//! Most timers are the timeouts of a server: set later than all others, and removed before they
//! fire. So a bucket keeps its timers unsorted, and insertion and removal take constant time. Only
//! when the first deadline of a bucket is due is the whole bucket sorted, then drained from its
//! end. A timer that is inserted into a bucket that is sorted already goes to a heap beside it.
//!
//! Each timer has a slot, which stores the bucket and the position of its entry. Removing a timer
//! of a sorted bucket frees the slot only; the entry stays, and is skipped when it is popped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::mem;
use std::time::Instant;

use slab::Slab;

use crate::random::Random;

/// The length of a bucket, as a power of two in nanoseconds: 4 ms.
const BUCKET_BITS: u32 = 22;
/// The most emptied buckets that are kept to reuse their memory.
const SPARE_MAX: usize = 4;

/// The timers of a domain. `T` is the target that a timer wakes.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    /// The start of bucket 1; set by the first timer.
    origin: Option<Instant>,
    /// The number of the bucket that was sorted last. Buckets up to it are sorted.
    current_bucket: u64,
    /// The remaining entries of the current bucket, latest first.
    sorted: Vec<Entry>,
    /// Entries for the current bucket, or an earlier one, that were inserted after it was sorted.
    overflow: BinaryHeap<Reverse<Entry>>,
    /// The buckets after the current one, without the hot bucket.
    future_buckets: BTreeMap<u64, Bucket>,
    /// The future bucket that was inserted into last, and its number. May be empty.
    hot_bucket: (u64, Bucket),
    spare: Vec<Vec<Entry>>,
    slots: Slab<TimerSlot<T>>,
    inserted: u64,
    /// The order of equal deadlines is drawn from it, if it is set.
    tie_break: Option<Random>,
}

/// Identifies a timer, also after it has fired and its slot was reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    slot: u32,
    number: u64,
}

/// The position of a timer in the order of expiry. Equal deadlines expire in the order of
/// insertion, or in a random order in a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    deadline: Instant,
    tie_break: u32,
    number: u64,
    slot: u32,
}

#[derive(Debug)]
struct TimerSlot<T> {
    /// The bucket of the timer's entry.
    bucket: u64,
    /// The index of the entry, as long as its bucket is not sorted.
    index: u32,
    /// Distinguishes the timer from earlier ones in this slot.
    number: u64,
    target: T,
}

/// Entries that are not sorted yet.
#[derive(Debug, Default)]
struct Bucket {
    entries: Vec<Entry>,
    /// Lower bound of the deadlines. May be stale after a removal; unspecified if there are no
    /// entries.
    earliest: Option<Instant>,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        TimerQueue {
            origin: None,
            current_bucket: 0,
            sorted: Vec::new(),
            overflow: BinaryHeap::new(),
            future_buckets: BTreeMap::new(),
            hot_bucket: (0, Bucket::default()),
            spare: Vec::new(),
            slots: Slab::new(),
            inserted: 0,
            tie_break: None,
        }
    }
}

impl<T> TimerQueue<T> {
    /// Creates a queue that draws the order of equal deadlines.
    pub(crate) fn with_random_ties(tie_break: Random) -> TimerQueue<T> {
        TimerQueue { tie_break: Some(tie_break), ..TimerQueue::default() }
    }

    pub(crate) fn insert(&mut self, deadline: Instant, target: T) -> TimerKey {
        self.inserted += 1;
        let tie_break = self.tie_break.as_ref().map_or(0, |random| random.next() as u32);
        let (number, bucket) = (self.inserted, self.bucket_of(deadline));
        // Consecutive timers mostly fall into one bucket, so the search for it is rare.
        if bucket > self.current_bucket && self.hot_bucket.0 != bucket {
            self.select_bucket(bucket);
        }
        // The index counts only in an unsorted bucket, and that is the hot one now.
        let index = self.hot_bucket.1.entries.len() as u32;
        let slot = self.slots.insert(TimerSlot { bucket, index, number, target }) as u32;
        let entry = Entry { deadline, tie_break, number, slot };
        if bucket <= self.current_bucket {
            self.overflow.push(Reverse(entry));
        } else {
            self.hot_bucket.1.push(entry);
        }
        TimerKey { slot, number }
    }

    fn bucket_of(&mut self, deadline: Instant) -> u64 {
        // A deadline before the origin falls into bucket 1, whose entries are sorted like others.
        let origin = *self.origin.get_or_insert(deadline);
        let since = deadline.saturating_duration_since(origin);
        // Deadlines more than 584 years away share the last bucket.
        let nanos = since.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(since.subsec_nanos()));
        // Bucket 0 has no entries: it is the current one at the beginning.
        (nanos >> BUCKET_BITS) + 1
    }

    /// Makes bucket `number` the hot one.
    #[cold]
    fn select_bucket(&mut self, number: u64) {
        let bucket = self.future_buckets.remove(&number).unwrap_or_else(|| Bucket {
            entries: self.spare.pop().unwrap_or_default(),
            earliest: None,
        });
        let (old_number, old) = mem::replace(&mut self.hot_bucket, (number, bucket));
        // Future buckets other than the hot one are never empty: `first_deadline` relies on it.
        if old.entries.is_empty() {
            self.recycle(old.entries);
        } else {
            self.future_buckets.insert(old_number, old);
        }
    }

    fn recycle(&mut self, emptied: Vec<Entry>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(emptied);
        }
    }

    /// Removes a timer. Returns its target, unless the timer has fired. The caller must not drop
    /// the target while the queue is borrowed: it may be a foreign waker.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let &mut TimerSlot { bucket: number, index, .. } = self.find(key)?;
        // An entry in a sorted bucket stays there; without a slot it has no effect.
        if number > self.current_bucket {
            let is_hot = number == self.hot_bucket.0;
            let future = if is_hot { None } else { self.future_buckets.get_mut(&number) };
            let entries = &mut future.unwrap_or(&mut self.hot_bucket.1).entries;
            entries.swap_remove(index as usize);
            if let Some(moved) = entries.get(index as usize) {
                // The last entry took the free position.
                self.slots[moved.slot as usize].index = index;
            } else if entries.is_empty() && !is_hot {
                let emptied = self.future_buckets.remove(&number);
                self.recycle(emptied.unwrap_or_default().entries);
            }
        }
        Some(self.slots.remove(key.slot as usize).target)
    }

    /// Removes all timers and returns their targets.
    pub(crate) fn take_targets(&mut self) -> impl Iterator<Item = T> + use<T> {
        let slots = mem::take(&mut self.slots);
        slots.into_iter().map(|(_, slot)| slot.target)
    }

    /// Returns the target of a timer that has not fired.
    #[inline]
    pub(crate) fn target(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        (slot.number == key.number).then_some(&slot.target)
    }

    /// Replaces the target of a timer that has not fired, and returns the old one.
    pub(crate) fn replace_target(&mut self, key: TimerKey, target: T) -> Option<T> {
        Some(mem::replace(&mut self.find(key)?.target, target))
    }

    fn find(&mut self, key: TimerKey) -> Option<&mut TimerSlot<T>> {
        self.slots.get_mut(key.slot as usize).filter(|slot| slot.number == key.number)
    }

    /// Returns a lower bound of the deadlines. It is exact unless a timer was removed.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.slots.is_empty() { None } else { self.first_deadline() }
    }

    /// Returns the deadline of the first entry, which may belong to a removed timer.
    fn first_deadline(&self) -> Option<Instant> {
        match (self.sorted.last(), self.overflow.peek()) {
            (Some(entry), None) | (None, Some(Reverse(entry))) => Some(entry.deadline),
            (Some(one), Some(Reverse(other))) => Some(one.deadline.min(other.deadline)),
            (None, None) => {
                let future =
                    self.future_buckets.first_key_value().and_then(|(_, bucket)| bucket.earliest);
                // The hot bucket may come before the first of the others.
                future.into_iter().chain(self.hot_bucket.1.earliest()).min()
            }
        }
    }

    /// Removes the timers that are due at `now`, earliest first, and appends their targets to
    /// `expired`.
    pub(crate) fn expire(&mut self, now: Instant, expired: &mut Vec<T>) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            match self.pop() {
                Some(entry) => {
                    let key = TimerKey { slot: entry.slot, number: entry.number };
                    // Skip the entries of removed timers.
                    if self.find(key).is_some() {
                        expired.push(self.slots.remove(entry.slot as usize).target);
                    }
                }
                // A deadline is due, and the sorted buckets are empty: sort the next one.
                None => self.sort_next(),
            }
        }
    }

    /// Removes the first of the sorted entries.
    fn pop(&mut self) -> Option<Entry> {
        let overflow_first = match (self.sorted.last(), self.overflow.peek()) {
            (Some(one), Some(Reverse(other))) => other < one,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if overflow_first {
            self.overflow.pop().map(|Reverse(entry)| entry)
        } else {
            self.sorted.pop()
        }
    }

    /// Makes the first of the future buckets the current one. Called when the sorted entries are
    /// used up and a deadline is left.
    fn sort_next(&mut self) {
        let first = self.future_buckets.first_key_value().map(|(&number, _)| number);
        let is_hot = !self.hot_bucket.1.entries.is_empty()
            && first.is_none_or(|number| self.hot_bucket.0 < number);
        let (number, bucket) = match is_hot {
            true => mem::take(&mut self.hot_bucket),
            false => self.future_buckets.pop_first().expect("a deadline is left"),
        };
        self.current_bucket = number;
        let emptied = mem::replace(&mut self.sorted, bucket.entries);
        self.recycle(emptied);
        // Descending, because entries are popped from the end.
        self.sorted.sort_unstable_by(|one, other| other.cmp(one));
    }
}

impl Bucket {
    fn push(&mut self, entry: Entry) {
        let earliest =
            self.earliest().map_or(entry.deadline, |earliest| earliest.min(entry.deadline));
        self.earliest = Some(earliest);
        self.entries.push(entry);
    }

    fn earliest(&self) -> Option<Instant> {
        self.earliest.filter(|_| !self.entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    //! Timers expire in order under random insertions and removals, compared with a sorted map,
    //! and the key of a removed timer identifies no other timer.

    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn agrees_with_a_sorted_map(seed: u64) {
        let random = Random::for_domain(seed, 0);
        let start = Instant::now();
        let mut timers = TimerQueue::default();
        let (mut model, mut removed) = (BTreeMap::new(), Vec::new());
        for step in 0..2000_u64 {
            match random.below(10) {
                0..5 => {
                    let deadline = start + Duration::from_micros(random.below(30_000) as u64);
                    let key = timers.insert(deadline, step);
                    model.insert((deadline, step), key);
                }
                5..8 if !model.is_empty() => {
                    let index = random.below(model.len());
                    let at = *model.keys().nth(index).expect("the index is in range");
                    let key = model.remove(&at).expect("the key was read from the map");
                    assert_eq!(timers.target(key), Some(&at.1));
                    assert_eq!(timers.replace_target(key, 0), Some(at.1));
                    assert_eq!(timers.remove(key), Some(0));
                    removed.push(key);
                }
                _ => {
                    let now =
                        start + Duration::from_micros(10 * step.min(random.below(2000) as u64));
                    let mut targets = Vec::new();
                    timers.expire(now, &mut targets);
                    let later = model.split_off(&(now + Duration::from_nanos(1), 0));
                    assert_eq!(targets, model.keys().map(|at| at.1).collect::<Vec<_>>());
                    removed.extend(mem::replace(&mut model, later).into_values());
                }
            }
            let first = model.keys().next().map(|(deadline, _)| *deadline);
            assert!(first.is_none() || timers.next_deadline() <= first, "no deadline is missed");
            assert!(timers.next_deadline().is_some() || first.is_none());
            if let Some(&key) = removed.last() {
                assert!(timers.remove(key).is_none() && timers.target(key).is_none());
            }
        }
        assert_eq!(timers.slots.len(), model.len());
    }

    #[test]
    fn timers_expire_in_order() {
        (0..50).for_each(agrees_with_a_sorted_map);
    }

    #[test]
    fn equal_deadlines_expire_in_the_order_of_insertion() {
        let mut timers = TimerQueue::default();
        let deadline = Instant::now();
        for target in 0..100 {
            timers.insert(deadline, target);
        }
        let mut targets = Vec::new();
        timers.expire(deadline, &mut targets);
        assert_eq!(targets, Vec::from_iter(0..100));
    }

    #[test]
    fn a_deadline_beyond_the_last_bucket_is_kept() {
        let mut timers = TimerQueue::default();
        let now = Instant::now();
        let ages = Duration::from_secs(u64::MAX / 4);
        let keys = [now, now.checked_add(ages).unwrap_or(now), now];
        let keys = keys.map(|deadline| timers.insert(deadline, ()));
        let mut due = Vec::new();
        timers.expire(now, &mut due);
        assert!(due.len() >= 2 && timers.remove(keys[0]).is_none());
        timers.remove(keys[1]);
        assert_eq!(timers.next_deadline(), None, "an empty hot bucket has no deadline");
    }
}
