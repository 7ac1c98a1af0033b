//! A slab whose entries form a linked list in insertion order.

/// Index that denotes no slot: the end of a list.
const NIL: u32 = u32::MAX;

/// A slab with a larger capacity frees its memory when its last entry is removed.
const RETAINED_CAPACITY: usize = 1024;

/// Values in insertion order, each of which can be removed in O(1) by its slot.
///
/// The occupied slots form a doubly linked list from the oldest to the newest entry. The vacant
/// slots form a singly linked list through `newer`. The index of a slot stays valid until its value
/// is removed.
pub(crate) struct LinkedSlab<T> {
    slots: Vec<Slot<T>>,
    first_vacant: u32,
    oldest: u32,
    newest: u32,
    len: usize,
}

struct Slot<T> {
    /// `None` while the slot is vacant.
    value: Option<T>,
    older: u32,
    /// The next newer entry, or the next vacant slot.
    newer: u32,
}

impl<T> LinkedSlab<T> {
    pub(crate) const fn new() -> LinkedSlab<T> {
        LinkedSlab { slots: Vec::new(), first_vacant: NIL, oldest: NIL, newest: NIL, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `value` as the newest entry, and returns its slot.
    ///
    /// # Panics
    ///
    /// If there are 2^32 - 1 entries already.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let slot = Slot { value: Some(value), older: self.newest, newer: NIL };
        let index = if self.first_vacant == NIL {
            assert!(self.slots.len() < NIL as usize, "a ledger holds at most 2^32 - 1 resources");
            if self.slots.is_empty() {
                // Most tasks own at most one resource, so do not allocate four slots at once.
                self.slots.reserve_exact(1);
            }
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            let index = self.first_vacant;
            self.first_vacant = self.slots[index as usize].newer;
            self.slots[index as usize] = slot;
            index
        };
        match self.newest {
            NIL => self.oldest = index,
            newest => self.slots[newest as usize].newer = index,
        }
        self.newest = index;
        self.len += 1;
        index
    }

    /// Removes the value in the slot `index`.
    ///
    /// # Panics
    ///
    /// If the slot is vacant.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let slot = &mut self.slots[index as usize];
        let value = slot.value.take().expect("only an occupied slot is removed");
        let (older, newer) = (slot.older, slot.newer);
        slot.newer = self.first_vacant;
        self.first_vacant = index;
        match older {
            NIL => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        self.len -= 1;
        if self.len == 0 && self.slots.capacity() > RETAINED_CAPACITY {
            *self = LinkedSlab::new();
        }
        value
    }

    pub(crate) fn newest(&self) -> Option<&T> {
        self.slots.get(self.newest as usize)?.value.as_ref()
    }

    pub(crate) fn oldest(&self) -> Option<&T> {
        self.slots.get(self.oldest as usize)?.value.as_ref()
    }

    /// Iterates from the newest to the oldest entry.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &T> {
        let mut next = self.newest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(next as usize)?;
            next = slot.older;
            slot.value.as_ref()
        })
    }

    /// Returns the number of slots that are allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

impl<T> Default for LinkedSlab<T> {
    fn default() -> LinkedSlab<T> {
        LinkedSlab::new()
    }
}
