//! The keys by which synchronization primitives refer to tasks.
//!
//! | bits | of the first number | of the second number |
//! | --- | --- | --- |
//! | low | slot: 32 | [`TaskId`]: 58 |
//! | high | domain: 10, run: 22 | run: 6 |
//!
//! So a key is unique among the tasks of 2^28 runs, and its node is found without a search.

use matou_hooks::TaskKey;

use super::{NodeKey, Slot, TaskId};

const DOMAIN_SHIFT: u32 = 32;
const RUN_SHIFT: u32 = 42;
/// The ids of tasks use the bits below: 48 for a count and 10 for the domain.
const ID_BITS: u32 = 58;

/// The part of the keys that all tasks on a domain have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyBase {
    high: u64,
    low: u64,
    /// The bits of a task's id that are in its key.
    id_mask: u64,
}

impl KeyBase {
    /// No task has a key: the runtime is not the host of the primitives of this process.
    pub(crate) const WITHOUT_KEYS: KeyBase = KeyBase { high: 0, low: 0, id_mask: 0 };

    pub(crate) fn new(run: u64, domain: usize) -> KeyBase {
        KeyBase {
            high: run << RUN_SHIFT | (domain as u64) << DOMAIN_SHIFT,
            low: run >> (u64::BITS - RUN_SHIFT) << ID_BITS,
            id_mask: ID_MASK,
        }
    }

    #[inline]
    pub(crate) fn key(self, slot: Slot, id: TaskId) -> Option<TaskKey> {
        TaskKey::from_parts(self.high | u64::from(slot), self.low | id.as_u64() & self.id_mask)
    }

    /// Returns where the task is, if it lives on this domain of this run.
    pub(crate) fn node_key(self, key: TaskKey) -> Option<NodeKey> {
        let (high, low) = key.into_parts();
        let (slot, id) = (high as u32, task_id(key));
        let is_here = high & !u64::from(u32::MAX) == self.high && low & !ID_MASK == self.low;
        is_here.then_some(NodeKey { slot, id })
    }
}

const ID_MASK: u64 = (1 << ID_BITS) - 1;

/// Returns the id of a task within its run.
pub(crate) fn task_id(key: TaskKey) -> TaskId {
    TaskId::from_u64(key.into_parts().1 & ID_MASK)
}

/// Returns the number of a task's run, and the domain that the task lives on.
pub(crate) fn key_home(key: TaskKey) -> (u64, usize) {
    let (high, low) = key.into_parts();
    let run = high >> RUN_SHIFT | low >> ID_BITS << (u64::BITS - RUN_SHIFT);
    let domain = high >> DOMAIN_SHIFT & ((1 << (RUN_SHIFT - DOMAIN_SHIFT)) - 1);
    (run, domain as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_node_on_its_own_domain_only() {
        let run = (1 << 28) - 3;
        let (base, id) = (KeyBase::new(run, 1023), TaskId::new(1023, (1 << 48) - 1));
        let key = base.key(Slot::MAX - 1, id).expect("a task has an id");
        assert_eq!(base.node_key(key), Some(NodeKey { slot: Slot::MAX - 1, id }));
        assert_eq!(task_id(key), id);
        assert_eq!(KeyBase::WITHOUT_KEYS.key(Slot::MAX - 1, id), None);
        assert_eq!(key_home(key), (run, 1023));
        for other in [KeyBase::new(run, 1022), KeyBase::new(run - 1, 1023), KeyBase::new(5, 1023)] {
            assert_eq!(other.node_key(key), None);
            assert_ne!(other.key(Slot::MAX - 1, id), Some(key));
        }
    }
}
