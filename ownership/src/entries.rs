use std::fmt;
use std::sync::Arc;

use crate::Resource;

/// Index of no slot: the end of a list.
const NONE: u32 = u32::MAX;

/// Above this capacity an emptied list gives its memory back.
const CAPACITY_KEPT: usize = 1024;

/// Resources in the order in which they came, each of which can be taken out in O(1).
///
/// A slab whose occupied slots form a doubly linked list from the oldest to the newest, and whose
/// vacant slots form a singly linked one (through `newer`). A slot's index stays valid until it is
/// removed. Nothing here calls user code: what leaves is returned, for the caller to drop.
pub(crate) struct Entries {
    slots: Vec<Slot>,
    vacant: u32,
    oldest: u32,
    newest: u32,
    len: usize,
}

struct Slot {
    /// `None` while the slot is vacant.
    resource: Option<Arc<dyn Resource>>,
    older: u32,
    /// The next newer entry, or the next vacant slot.
    newer: u32,
    /// Whether the entry came after the settlement had begun.
    late: bool,
}

impl Entries {
    pub(crate) const fn new() -> Entries {
        Entries { slots: Vec::new(), vacant: NONE, oldest: NONE, newest: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `resource` as the newest, and returns its slot.
    pub(crate) fn push(&mut self, resource: Arc<dyn Resource>, late: bool) -> u32 {
        let slot = Slot { resource: Some(resource), older: self.newest, newer: NONE, late };
        let index = if self.vacant == NONE {
            assert!(self.slots.len() < NONE as usize, "a ledger holds at most 2^32 - 1 resources");
            if self.slots.is_empty() {
                // Most tasks own one thing, if any: no room for three more.
                self.slots.reserve_exact(1);
            }
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            let index = self.vacant;
            self.vacant = self.slots[index as usize].newer;
            self.slots[index as usize] = slot;
            index
        };
        match self.newest {
            NONE => self.oldest = index,
            newest => self.slots[newest as usize].newer = index,
        }
        self.newest = index;
        self.len += 1;
        index
    }

    /// Takes out what is in the occupied slot `index`, with its mark of lateness.
    pub(crate) fn remove(&mut self, index: u32) -> (Arc<dyn Resource>, bool) {
        let slot = &mut self.slots[index as usize];
        let resource = slot.resource.take().expect("only an occupied slot is removed");
        let (older, newer, late) = (slot.older, slot.newer, slot.late);
        slot.newer = self.vacant;
        self.vacant = index;
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        self.len -= 1;
        if self.len == 0 && self.slots.capacity() > CAPACITY_KEPT {
            *self = Entries::new();
        }
        (resource, late)
    }

    pub(crate) fn newest(&self) -> Option<&Arc<dyn Resource>> {
        self.slots.get(self.newest as usize)?.resource.as_ref()
    }

    pub(crate) fn oldest(&self) -> Option<&Arc<dyn Resource>> {
        self.slots.get(self.oldest as usize)?.resource.as_ref()
    }

    /// Walks from the newest to the oldest.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Arc<dyn Resource>> {
        let mut next = self.newest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(next as usize)?;
            next = slot.older;
            slot.resource.as_ref()
        })
    }

    /// How many slots there is memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

impl Default for Entries {
    fn default() -> Entries {
        Entries::new()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let infos = self.newest_first().map(|resource| resource.ticket().info());
        f.debug_list().entries(infos).finish()
    }
}
