//! The line in front of a `Condition`: who waits, who was called, in which order.
//!
//! Why not an `Event`? A call to one waiter passes to the next if the called one is dropped, while
//! a call to all must not: whoever comes after a broadcast was not meant. An event-listener passes
//! on either, without telling which it was. Here the two are told apart, and each step is one
//! critical section. Slots are reused, so that waiting allocates only when the line is longer than
//! ever before; all steps but `call_all` take constant time.

use std::mem;
use std::task::Waker;

/// Why a waiter may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It was signalled, alone; if it is dropped now, the next one is to be called.
    Signal,
    /// It was there when all were called.
    Broadcast,
}

/// By what a waiter is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    slot: u32,
    /// How many had come when it came: whoever has a smaller number stood ahead of it.
    pub(crate) number: u64,
}

/// The index of no slot: the end of a line.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Slot {
    /// In the line. The neighbours are towards the head and towards the tail.
    Waiting { waker: Waker, number: u64, ahead: u32, behind: u32 },
    /// Called with all the others; its waiter has not seen it yet. Who is signalled leaves no mark.
    Broadcast { number: u64 },
    /// Unused; the next one of the free slots.
    Free { next: u32 },
}

/// All waiters of one condition.
#[derive(Debug)]
pub(crate) struct Waiters {
    slots: Vec<Slot>,
    free: u32,
    head: u32,
    tail: u32,
    /// How many ever came.
    came: u64,
    /// Slots that are not free.
    used: usize,
    /// The address of the mutex that they came with; meaningless while none is used.
    mutex_address: usize,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
            came: 0,
            used: 0,
            mutex_address: 0,
        }
    }

    /// Those in the line, and those that were called with all the others and have not seen it yet.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The number of who came last.
    pub(crate) fn came(&self) -> u64 {
        self.came
    }

    /// Whether those who wait, if any, came with this mutex.
    pub(crate) fn are_of(&self, mutex_address: usize) -> bool {
        self.used == 0 || self.mutex_address == mutex_address
    }

    /// Puts a waiter at the end and returns its key. Refuses, and gives the waker back, if the
    /// others came with another mutex.
    pub(crate) fn push(&mut self, waker: Waker, mutex_address: usize) -> Result<Key, Waker> {
        if !self.are_of(mutex_address) {
            return Err(waker);
        }
        self.mutex_address = mutex_address;
        self.came += 1;
        let number = self.came;
        let ahead = self.tail;
        let slot = self.take_slot(Slot::Waiting { waker, number, ahead, behind: NONE });
        self.set_behind(ahead, slot);
        self.tail = slot;
        Ok(Key { slot, number })
    }

    /// Signals the first in the line, and returns its number. The caller wakes it, outside of all
    /// locks.
    pub(crate) fn call_first(&mut self) -> Option<(u64, Waker)> {
        let slot = self.head;
        (slot != NONE).then(|| {
            self.unlink(slot);
            waiting(self.free_slot(slot))
        })
    }

    /// Calls the whole line.
    pub(crate) fn call_all(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.head != NONE {
            let slot = self.head;
            self.unlink(slot);
            let called = Slot::Broadcast { number: self.number(slot) };
            wakers.push(waiting(mem::replace(self.slot(slot), called)).1);
        }
        wakers
    }

    /// Says why a waiter was called, if it was; then it is here no more.
    pub(crate) fn take_called(&mut self, key: Key) -> Option<Call> {
        match self.slots[key.slot as usize] {
            Slot::Waiting { number, .. } if number == key.number => None,
            Slot::Broadcast { number } if number == key.number => {
                // There is nothing to drop in it.
                drop(self.free_slot(key.slot));
                Some(Call::Broadcast)
            }
            // The slot is free, or another's by now.
            _ => Some(Call::Signal),
        }
    }

    /// The waker of one that has not been called.
    pub(crate) fn waker_mut(&mut self, key: Key) -> Option<&mut Waker> {
        match self.slot(key.slot) {
            Slot::Waiting { waker, number, .. } if *number == key.number => Some(waker),
            _ => None,
        }
    }

    /// Takes a waiter out that gives up. Either it had been called, or the caller drops its waker,
    /// outside of all locks.
    pub(crate) fn remove(&mut self, key: Key) -> Result<Call, Waker> {
        if let Some(call) = self.take_called(key) {
            return Ok(call);
        }
        self.unlink(key.slot);
        Err(waiting(self.free_slot(key.slot)).1)
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    fn number(&self, slot: u32) -> u64 {
        match self.slots[slot as usize] {
            Slot::Waiting { number, .. } | Slot::Broadcast { number } => number,
            Slot::Free { .. } => unreachable!("a free slot has no number"),
        }
    }

    fn unlink(&mut self, slot: u32) {
        let &mut Slot::Waiting { ahead, behind, .. } = self.slot(slot) else {
            unreachable!("only those who wait are in the line");
        };
        self.set_behind(ahead, behind);
        match behind {
            NONE => self.tail = ahead,
            behind => {
                if let Slot::Waiting { ahead: place, .. } = self.slot(behind) {
                    *place = ahead;
                }
            }
        }
    }

    /// Says who stands behind `ahead`, or first in the line if that is none.
    fn set_behind(&mut self, ahead: u32, slot: u32) {
        match ahead {
            NONE => self.head = slot,
            ahead => {
                if let Slot::Waiting { behind, .. } = self.slot(ahead) {
                    *behind = slot;
                }
            }
        }
    }

    fn take_slot(&mut self, slot: Slot) -> u32 {
        self.used += 1;
        let free = self.free;
        if free == NONE {
            let index = self.slots.len() as u32;
            assert!(index != NONE, "fewer than 2^32 - 1 wait for a condition");
            self.slots.push(slot);
            return index;
        }
        match mem::replace(self.slot(free), slot) {
            Slot::Free { next } => self.free = next,
            slot => unreachable!("the free list led to {slot:?}"),
        }
        free
    }

    fn free_slot(&mut self, slot: u32) -> Slot {
        self.used -= 1;
        let next = mem::replace(&mut self.free, slot);
        mem::replace(self.slot(slot), Slot::Free { next })
    }
}

/// The number and the waker of one that was in the line.
fn waiting(slot: Slot) -> (u64, Waker) {
    match slot {
        Slot::Waiting { waker, number, .. } => (number, waker),
        slot => unreachable!("a waiter was in the state {slot:?}"),
    }
}
