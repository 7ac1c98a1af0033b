//! A bounded set of wakers.

use std::fmt;
use std::mem;
use std::task::Waker;

use crate::panics;

/// How many wakers beside the first one a set keeps until it evicts them.
const REST_MAX: usize = 16;
/// The maximum number of times that this number doubles.
const DOUBLINGS_MAX: u32 = 6;

/// The wakers of everything that waits for one event.
///
/// Usually one task waits, whose waker needs no allocation. A combinator such as `FuturesUnordered`
/// polls with a waker of its own for each of its futures, and may leave stale ones behind when it
/// polls again with new ones. If the event never occurs, they would accumulate. So the set is
/// bounded: a full set evicts all its wakers, and the caller wakes them. Those that still wait
/// register again. Each eviction doubles the bound, up to 1,024 wakers, so that many futures that
/// really wait do not evict each other again and again.
#[derive(Default)]
pub(crate) struct WakerSet {
    first: Option<Waker>,
    /// Boxed, because it is rarely there.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    wakers: Vec<Waker>,
    /// How often the set was full since it was last emptied.
    evictions: u32,
}

impl WakerSet {
    /// Returns whether the set is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.wakers.is_empty())
    }

    /// Returns whether a waker in the set is known to wake the same task as `waker`.
    #[inline]
    pub(crate) fn contains(&self, waker: &Waker) -> bool {
        let is_same = |known: &Waker| known.will_wake(waker);
        self.first.as_ref().is_some_and(is_same)
            || self.rest.as_ref().is_some_and(|rest| rest.wakers.iter().any(is_same))
    }

    /// Adds a waker that the set does not contain. Returns the wakers that it evicted; the caller
    /// must wake them, without holding a lock or a borrow, since a waker may run any code.
    #[must_use = "evicted wakers must be woken"]
    #[inline]
    pub(crate) fn insert(&mut self, waker: Waker) -> WakerSet {
        if self.is_empty() {
            self.first = Some(waker);
            return WakerSet::default();
        }
        self.insert_further(waker)
    }

    fn insert_further(&mut self, waker: Waker) -> WakerSet {
        let rest = self.rest.get_or_insert_default();
        if rest.wakers.len() < REST_MAX << rest.evictions {
            rest.wakers.push(waker);
            return WakerSet::default();
        }
        rest.evictions = (rest.evictions + 1).min(DOUBLINGS_MAX);
        let wakers = mem::take(&mut rest.wakers);
        let evicted = Rest { wakers, evictions: 0 };
        WakerSet { first: self.first.replace(waker), rest: Some(Box::new(evicted)) }
    }

    /// Empties the set and returns what it contained.
    #[inline]
    pub(crate) fn take(&mut self) -> WakerSet {
        mem::take(self)
    }

    /// Moves all wakers to the end of `wakers`.
    #[inline]
    pub(crate) fn drain_into(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.first.take());
        if let Some(rest) = self.rest.take() {
            wakers.extend(rest.wakers);
        }
    }

    /// Wakes all of them. A panic in a foreign waker does not reach the caller.
    #[inline]
    pub(crate) fn wake_all(self) {
        if let Some(waker) = self.first {
            panics::wake(waker);
        }
        if let Some(rest) = self.rest {
            rest.wakers.into_iter().for_each(panics::wake);
        }
    }
}

impl fmt::Debug for WakerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.wakers.len());
        let len = usize::from(self.first.is_some()) + rest;
        f.debug_struct("WakerSet").field("len", &len).finish()
    }
}

#[cfg(test)]
mod tests {
    //! Goal: a set stays bounded whatever is registered, and loses no waker that it was given.
    //! Method: wakers of their own, counted by their references.

    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Silent;

    impl Wake for Silent {
        fn wake(self: Arc<Self>) {}
    }

    fn fresh() -> (Arc<Silent>, Waker) {
        let silent = Arc::new(Silent);
        (Arc::clone(&silent), Waker::from(silent))
    }

    fn len(set: &WakerSet) -> usize {
        usize::from(set.first.is_some()) + set.rest.as_ref().map_or(0, |rest| rest.wakers.len())
    }

    #[test]
    fn a_full_set_evicts_its_wakers_and_doubles_its_bound() {
        let mut set = WakerSet::default();
        let (mut inserted, mut evicted, mut largest) = (0, 0, 0);
        for _ in 0..10_000 {
            evicted += len(&set.insert(fresh().1));
            inserted += 1;
            largest = largest.max(len(&set));
            assert_eq!(inserted, evicted + len(&set));
        }
        assert_eq!(largest, (REST_MAX << DOUBLINGS_MAX) + 1);
    }

    #[test]
    fn a_set_that_was_emptied_starts_with_the_small_bound() {
        let mut set = WakerSet::default();
        for _ in 0..1000 {
            drop(set.insert(fresh().1));
        }
        drop(set.take());
        assert!(set.is_empty());
        let evictions = (0..18).filter(|_| !set.insert(fresh().1).is_empty()).count();
        assert_eq!(evictions, 1);
    }

    #[test]
    fn a_known_waker_is_recognized() {
        let mut set = WakerSet::default();
        let wakers: Vec<_> = (0..3).map(|_| fresh()).collect();
        for (_, waker) in &wakers {
            assert!(!set.contains(waker));
            assert!(set.insert(waker.clone()).is_empty());
        }
        assert!(wakers.iter().all(|(_, waker)| set.contains(waker)));
        let mut drained = Vec::new();
        set.drain_into(&mut drained);
        assert_eq!(drained.len(), 3);
    }
}
