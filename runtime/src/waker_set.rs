//! A set of wakers.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::panics;

/// How many wakers without a key a set keeps before it suspects that some are stale.
const UNKEYED_MAX: usize = 64;
/// The shortest time between two evictions.
const EVICTION_INTERVAL: Duration = Duration::from_secs(1);

/// The wakers of all futures that wait for one event.
///
/// It is for the implementation of leaf futures. A future that waits keeps a [`WakerKey`], replaces
/// its waker by means of the key when it is polled again, and removes it when it is dropped. So the
/// set contains exactly the futures that wait, however many there are.
///
/// No method calls foreign code. A method returns the wakers that the caller must wake or drop, and
/// takes wakers that the caller has cloned: a waker can run any code, so all of this must happen
/// without a lock or a borrow. Only [`wake_all`](WakerSet::wake_all) and the drop of a set call
/// foreign code. They call every waker, and no panic of one reaches the caller.
///
/// # Examples
///
/// ```
/// use std::task::Waker;
/// use matou_runtime::{WakerKey, WakerSet};
///
/// let mut set = WakerSet::new();
/// let (mut first, mut second) = (WakerKey::new(), WakerKey::new());
/// drop(set.register(&mut first, Waker::noop().clone()));
/// drop(set.register(&mut second, Waker::noop().clone()));
/// drop(set.remove(&mut first)); // the first future was dropped
/// assert_eq!(set.len(), 1);
/// set.take().wake_all(); // the event
/// assert!(set.is_empty());
/// ```
#[derive(Default)]
pub struct WakerSet {
    /// Usually one task waits, whose waker needs no allocation.
    first: Option<Waker>,
    /// The ticket of the first one; 0 if it has no key.
    first_ticket: u64,
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    /// By ticket: those of one thread in the order of their registration.
    keyed: BTreeMap<u64, Waker>,
    unkeyed: Vec<Waker>,
    /// The identities of the unkeyed wakers.
    known: HashSet<Identity>,
    /// When how many unkeyed wakers were last evicted.
    evicted: Option<(Instant, usize)>,
}

/// The basis of [`Waker::will_wake`]: the addresses of the data and of the functions.
type Identity = (usize, usize);

fn identity(waker: &Waker) -> Identity {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

/// Identifies the waker of one future in a [`WakerSet`].
///
/// A key refers to no waker after the set was emptied, or when it is used with another set.
#[derive(Debug, Default)]
pub struct WakerKey(u64);

impl WakerKey {
    /// Creates a key that refers to no waker.
    #[inline]
    pub const fn new() -> WakerKey {
        WakerKey(0)
    }

    /// Returns whether a waker was registered with the key since it was last
    /// [cleared](WakerKey::clear).
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0 != 0
    }

    /// Makes the key refer to no waker.
    #[inline]
    pub fn clear(&mut self) {
        self.0 = 0;
    }
}

impl WakerSet {
    /// Creates an empty set.
    pub const fn new() -> WakerSet {
        WakerSet { first: None, first_ticket: 0, rest: None }
    }

    /// Returns whether the set is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.len() == 0)
    }

    /// Returns the number of wakers.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Returns whether the key refers to a waker that wakes the same task as `waker`.
    #[inline]
    pub fn is_registered(&self, key: &WakerKey, waker: &Waker) -> bool {
        if key.0 == self.first_ticket && key.0 != 0 {
            return self.first.as_ref().is_some_and(|known| known.will_wake(waker));
        }
        let known = self.rest.as_ref().and_then(|rest| rest.keyed.get(&key.0));
        known.is_some_and(|known| known.will_wake(waker))
    }

    /// Adds a waker, or replaces the one that the key refers to. Returns the replaced one.
    #[must_use = "a waker must be dropped without a lock"]
    #[inline]
    pub fn register(&mut self, key: &mut WakerKey, waker: Waker) -> Option<Waker> {
        if key.is_set()
            && let Some(known) = self.get_mut(key)
        {
            return Some(mem::replace(known, waker));
        }
        key.0 = next_ticket();
        if self.is_empty() {
            self.first = Some(waker);
            self.first_ticket = key.0;
            return None;
        }
        self.rest.get_or_insert_default().keyed.insert(key.0, waker)
    }

    /// Removes the waker that the key refers to, and clears the key.
    #[must_use = "a waker must be dropped without a lock"]
    pub fn remove(&mut self, key: &mut WakerKey) -> Option<Waker> {
        let ticket = mem::take(&mut key.0);
        if ticket == 0 {
            return None;
        }
        if ticket == self.first_ticket {
            return self.first.take();
        }
        self.rest.as_mut()?.keyed.remove(&ticket)
    }

    fn get_mut(&mut self, key: &WakerKey) -> Option<&mut Waker> {
        if key.0 == self.first_ticket {
            return self.first.as_mut();
        }
        self.rest.as_mut()?.keyed.get_mut(&key.0)
    }

    /// Returns whether a waker without a key is known to wake the same task as `waker`.
    pub fn contains_unkeyed(&self, waker: &Waker) -> bool {
        let is_first = || self.first.as_ref().is_some_and(|first| first.will_wake(waker));
        (self.first_ticket == 0 && is_first())
            || self.rest.as_ref().is_some_and(|rest| rest.known.contains(&identity(waker)))
    }

    /// Adds a waker of a caller that cannot keep a key, unless the set
    /// [contains](WakerSet::contains_unkeyed) it. `now` returns the time of the domain.
    ///
    /// Such a caller may leave stale wakers behind, which would accumulate if the event never
    /// occurred. So a set with many of them evicts them, and returns those that the caller must
    /// wake: the ones that still wait register again. Within a second that happens only when twice
    /// as many have come as were evicted the last time, so any number of futures can wait without
    /// waking each other again and again.
    #[must_use = "evicted wakers must be woken without a lock"]
    #[inline]
    pub fn insert_unkeyed(&mut self, waker: Waker, now: impl FnOnce() -> Instant) -> WakerSet {
        if self.is_empty() {
            self.first = Some(waker);
            self.first_ticket = 0;
            return WakerSet::new();
        }
        let rest = self.rest.get_or_insert_default();
        let evicted = rest.evict_if_many(now);
        rest.known.insert(identity(&waker));
        rest.unkeyed.push(waker);
        WakerSet::from_unkeyed(evicted)
    }

    fn from_unkeyed(unkeyed: Vec<Waker>) -> WakerSet {
        let mut set = WakerSet::new();
        if !unkeyed.is_empty() {
            set.rest = Some(Box::new(Rest { unkeyed, ..Rest::default() }));
        }
        set
    }

    /// Empties the set and returns what it contained.
    #[must_use = "a waker must be woken or dropped without a lock"]
    #[inline]
    pub fn take(&mut self) -> WakerSet {
        mem::take(self)
    }

    /// Moves all wakers to the end of `wakers`.
    #[inline]
    pub(crate) fn drain_into(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.first.take());
        if let Some(rest) = self.rest.take() {
            wakers.extend(rest.keyed.into_values().chain(rest.unkeyed));
        }
    }

    /// Wakes all of them. A panic in a foreign waker does not reach the caller.
    #[inline]
    pub fn wake_all(mut self) {
        if let Some(waker) = self.first.take() {
            panics::wake(waker);
        }
        if let Some(rest) = self.rest.take() {
            rest.keyed.into_values().chain(rest.unkeyed).for_each(panics::wake);
        }
    }
}

impl Drop for WakerSet {
    /// A second panic in the drop of one collection would abort the process.
    #[inline]
    fn drop(&mut self) {
        // fault: wakers-dropped-together
        panics::drop_each(self.first.take());
        if let Some(rest) = self.rest.take() {
            panics::drop_each(rest.keyed.into_values().chain(rest.unkeyed));
        }
    }
}

impl Rest {
    fn len(&self) -> usize {
        self.keyed.len() + self.unkeyed.len()
    }

    fn evict_if_many(&mut self, now: impl FnOnce() -> Instant) -> Vec<Waker> {
        if self.unkeyed.len() < UNKEYED_MAX {
            return Vec::new();
        }
        let now = now();
        // fault: evictions-unlimited
        if self.was_evicted_recently(now) {
            return Vec::new();
        }
        self.evicted = Some((now, self.unkeyed.len()));
        self.known.clear();
        mem::take(&mut self.unkeyed)
    }

    /// Returns whether the wakers may be those that have just been evicted and have come back.
    fn was_evicted_recently(&self, now: Instant) -> bool {
        self.evicted.is_some_and(|(at, count)| {
            now < at + EVICTION_INTERVAL && self.unkeyed.len() < UNKEYED_MAX + 2 * count
        })
    }
}

/// Returns a number that no other key of the process has: a key that is used with another set must
/// not refer to a waker there. Each thread takes a block of numbers at a time.
fn next_ticket() -> u64 {
    const BLOCK: u64 = 1 << 20;
    static BLOCKS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    NEXT.with(|next| {
        let mut ticket = next.get();
        if ticket.is_multiple_of(BLOCK) {
            // 0 is not a ticket.
            ticket = BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK + 1;
        }
        next.set(ticket + 1);
        ticket
    })
}

impl fmt::Debug for WakerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakerSet").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    //! Goal: a set contains exactly the futures that wait; stale wakers without a key stay few.
    //! Method: wakers of their own, counted by their references.

    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Silent;

    impl Wake for Silent {
        fn wake(self: Arc<Self>) {}
    }

    fn fresh() -> Waker {
        Waker::from(Arc::new(Silent))
    }

    #[test]
    fn f1_evicted_wakers_that_return_evict_no_other() {
        let (mut set, now) = (WakerSet::default(), Instant::now());
        let wakers: Vec<_> = (0..10_000).map(|_| fresh()).collect();
        let mut pending = wakers.clone();
        let mut rounds = 0;
        while !pending.is_empty() {
            let mut evicted = Vec::new();
            for waker in pending {
                if !set.contains_unkeyed(&waker) {
                    set.insert_unkeyed(waker, || now).drain_into(&mut evicted);
                }
            }
            pending = evicted;
            rounds += 1;
            assert!(rounds < 20, "they evict each other again and again");
        }
        assert_eq!(set.len(), 10_000);
        assert!(wakers.iter().all(|waker| set.contains_unkeyed(waker)));
    }

    #[test]
    fn t14_stale_unkeyed_wakers_are_evicted_after_a_second() {
        let (mut set, now) = (WakerSet::default(), Instant::now());
        for _ in 0..10_000 {
            drop(set.insert_unkeyed(fresh(), || now));
        }
        assert!(set.len() < 5_000);
        let later = now + EVICTION_INTERVAL;
        drop(set.insert_unkeyed(fresh(), || later));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn f1_keyed_wakers_are_never_evicted() {
        let mut set = WakerSet::default();
        let mut keys: Vec<_> = (0..10_000).map(|_| WakerKey::new()).collect();
        for _ in 0..2 {
            for key in &mut keys {
                drop(set.register(key, fresh()));
            }
            assert_eq!(set.len(), 10_000);
        }
        for key in &mut keys {
            assert!(set.remove(key).is_some());
        }
        assert!(set.is_empty());
    }

    #[test]
    fn f1_a_key_refers_to_no_waker_after_the_event_or_in_another_set() {
        let (mut set, mut other) = (WakerSet::default(), WakerSet::default());
        let (mut key, mut newer) = (WakerKey::new(), WakerKey::new());
        assert!(set.register(&mut key, fresh()).is_none());
        drop(set.take());
        assert!(set.register(&mut newer, fresh()).is_none());
        assert!(other.register(&mut WakerKey::new(), fresh()).is_none());
        assert!(other.register(&mut key, fresh()).is_none(), "it replaces no foreign waker");
        assert!(set.remove(&mut key).is_none());
        assert_eq!((set.len(), other.len()), (1, 2));
    }

    #[test]
    fn a_known_waker_is_recognized() {
        let mut set = WakerSet::default();
        let wakers: Vec<_> = (0..3).map(|_| fresh()).collect();
        for waker in &wakers {
            assert!(!set.contains_unkeyed(waker));
            assert!(set.insert_unkeyed(waker.clone(), Instant::now).is_empty());
        }
        assert!(wakers.iter().all(|waker| set.contains_unkeyed(waker)));
        let mut key = WakerKey::new();
        assert!(set.register(&mut key, wakers[0].clone()).is_none());
        assert!(set.is_registered(&key, &wakers[0]));
        assert!(!set.is_registered(&key, &wakers[1]));
        let mut drained = Vec::new();
        set.drain_into(&mut drained);
        assert_eq!(drained.len(), 4);
        assert!(!set.is_registered(&key, &wakers[0]));
    }
}
