//! The synchronization primitives that tasks wait for, and their holders.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use matou_hooks::{Holder, Target};
use slab::Slab;

use super::{IdHasher, WaitTarget};

/// At most so many entries before unused ones are removed for the first time.
const ENTRIES_MAX: usize = 64;

/// The primitives that tasks of a domain have waited for. In a simulated run all domains share one
/// table.
///
/// A primitive without waiters may have an entry, whose holder means nothing: the next wait
/// replaces it.
#[derive(Debug)]
pub(crate) struct WaitTargets {
    /// The holder of each primitive, as its last report named it.
    entries: Slab<Option<Holder>>,
    /// The entry of each address.
    keys: HashMap<u64, usize, BuildHasherDefault<IdHasher>>,
    /// The address that was used last, and its entry: a contended lock is mostly released, acquired
    /// and waited for in a row.
    last: Option<(u64, usize)>,
    /// The number of entries at which unused ones are removed.
    purge_at: usize,
}

impl Default for WaitTargets {
    fn default() -> WaitTargets {
        WaitTargets {
            entries: Slab::new(),
            keys: HashMap::default(),
            last: None,
            purge_at: ENTRIES_MAX,
        }
    }
}

/// The kinds of primitives of which the holder is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetKind {
    Lock,
    Queue,
}

impl TargetKind {
    #[inline]
    pub(crate) fn of(target: Target) -> Option<TargetKind> {
        match target.kind {
            "lock" => Some(TargetKind::Lock),
            "queue" => Some(TargetKind::Queue),
            _ => None,
        }
    }

    fn wait_target(self, entry: usize) -> WaitTarget {
        match self {
            TargetKind::Lock => WaitTarget::Lock(entry as u64 + 1),
            TargetKind::Queue => WaitTarget::Queue(entry as u64 + 1),
        }
    }
}

impl WaitTargets {
    /// Records that a task waits for `target`, which `holder` holds.
    pub(crate) fn record(
        &mut self,
        kind: TargetKind,
        target: Target,
        holder: Option<Holder>,
    ) -> WaitTarget {
        self.record_known(kind, target, holder).unwrap_or_else(|| {
            let key = self.entries.insert(holder);
            self.keys.insert(target.address as u64, key);
            kind.wait_target(key)
        })
    }

    /// As [`record`](WaitTargets::record), unless the target has no entry yet.
    #[inline]
    pub(crate) fn record_known(
        &mut self,
        kind: TargetKind,
        target: Target,
        holder: Option<Holder>,
    ) -> Option<WaitTarget> {
        let key = self.find(target.address as u64)?;
        self.entries[key] = holder;
        Some(kind.wait_target(key))
    }

    /// Replaces the holder of a primitive that tasks wait for.
    pub(crate) fn set_holder(&mut self, target: Target, holder: Option<Holder>) {
        if let Some(key) = self.find(target.address as u64) {
            self.entries[key] = holder;
        }
    }

    /// Returns the entry of an address.
    #[inline]
    fn find(&mut self, address: u64) -> Option<usize> {
        if let Some((last, key)) = self.last
            && last == address
        {
            return Some(key);
        }
        let key = *self.keys.get(&address)?;
        self.last = Some((address, key));
        Some(key)
    }

    /// Returns the holder of the primitive that a wait refers to.
    pub(crate) fn holder(&self, target: WaitTarget) -> Option<Holder> {
        let (WaitTarget::Lock(number) | WaitTarget::Queue(number)) = target else { return None };
        let key = usize::try_from(number.checked_sub(1)?).ok()?;
        *self.entries.get(key)?
    }

    /// Returns whether unused entries should be removed, among `tasks` tasks.
    pub(crate) fn is_crowded(&self, tasks: usize) -> bool {
        self.entries.len() >= self.purge_at.max(tasks)
    }

    /// Removes all entries but those of the given waits.
    pub(crate) fn retain(&mut self, waits: impl Iterator<Item = WaitTarget>) {
        let mut used = vec![false; self.entries.capacity()];
        for wait in waits {
            if let WaitTarget::Lock(number) | WaitTarget::Queue(number) = wait
                && let Some(used) = number.checked_sub(1).and_then(|key| used.get_mut(key as usize))
            {
                *used = true;
            }
        }
        self.last = None;
        self.entries.retain(|key, _| used[key]);
        self.keys.retain(|_, key| used[*key]);
        // Twice as many, so that the walk over all tasks stays constant time per entry.
        self.purge_at = ENTRIES_MAX.max(2 * self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    #[test]
    fn a_target_keeps_its_number_and_its_newest_holder() {
        use TargetKind::{Lock, Queue};
        let mut targets = WaitTargets::default();
        let (first, second) = (Target::new("lock", 16), Target::new("queue", 32));
        let holder = Holder::new(None, Location::caller());
        assert_eq!(targets.record(Lock, first, None), WaitTarget::Lock(1));
        assert_eq!(targets.record(Queue, second, Some(holder)), WaitTarget::Queue(2));
        assert_eq!(targets.record(Lock, first, Some(holder)), WaitTarget::Lock(1));
        assert_eq!(targets.holder(WaitTarget::Lock(1)), Some(holder));
        targets.set_holder(first, None);
        assert_eq!(targets.holder(WaitTarget::Lock(1)), None);
        assert_eq!(targets.holder(WaitTarget::Queue(2)), Some(holder));
        assert!(TargetKind::of(Target::new("other", 16)).is_none());
    }

    #[test]
    fn entries_that_no_task_waits_for_are_removed() {
        let mut targets = WaitTargets::default();
        let mut kept = WaitTarget::Unknown;
        for address in 1..=1000 {
            if targets.is_crowded(5) {
                targets.retain([kept].into_iter());
            }
            let target = targets.record(TargetKind::Lock, Target::new("lock", 16 * address), None);
            kept = if address == 1 { target } else { kept };
        }
        assert!(targets.entries.len() <= ENTRIES_MAX, "{}", targets.entries.len());
        assert_eq!(targets.record(TargetKind::Lock, Target::new("lock", 16), None), kept);
    }
}
