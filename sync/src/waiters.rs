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

#[derive(Debug)]
enum Slot {
    /// In the line. The neighbours are towards the head and towards the tail.
    Waiting { waker: Waker, ahead: Option<usize>, behind: Option<usize> },
    /// Out of the line; its waiter has not seen it yet.
    Called(Call),
    /// Unused; the next one of the free slots.
    Free { next: Option<usize> },
}

/// All waiters of one condition.
#[derive(Debug)]
pub(crate) struct Waiters {
    slots: Vec<Slot>,
    free: Option<usize>,
    head: Option<usize>,
    tail: Option<usize>,
    /// Slots that are not free.
    used: usize,
    /// The address of the mutex that they came with; meaningless while none is used.
    mutex_address: usize,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: None, head: None, tail: None, used: 0, mutex_address: 0 }
    }

    /// Waiters in the line and called ones.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Puts a waiter at the end and returns its key. Refuses, and gives the waker back, if the
    /// others came with another mutex.
    pub(crate) fn push(&mut self, waker: Waker, mutex_address: usize) -> Result<usize, Waker> {
        if self.used == 0 {
            self.mutex_address = mutex_address;
        } else if self.mutex_address != mutex_address {
            return Err(waker);
        }
        let key = self.take_slot(Slot::Waiting { waker, ahead: self.tail, behind: None });
        match self.tail.replace(key) {
            Some(last) => self.set_behind(last, Some(key)),
            None => self.head = Some(key),
        }
        Ok(key)
    }

    /// Calls the first in the line. The caller wakes it, outside of all locks.
    pub(crate) fn call_first(&mut self) -> Option<Waker> {
        let key = self.head?;
        Some(self.call(key, Call::Signal))
    }

    /// Calls the whole line.
    pub(crate) fn call_all(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(key) = self.head {
            wakers.push(self.call(key, Call::Broadcast));
        }
        wakers
    }

    /// Takes a called waiter out, and says why it was called.
    pub(crate) fn take_called(&mut self, key: usize) -> Option<Call> {
        let Slot::Called(call) = self.slots[key] else {
            return None;
        };
        // A call has nothing to drop.
        drop(self.free_slot(key));
        Some(call)
    }

    /// The waker of one that has not been called.
    pub(crate) fn waker_mut(&mut self, key: usize) -> Option<&mut Waker> {
        match &mut self.slots[key] {
            Slot::Waiting { waker, .. } => Some(waker),
            _ => None,
        }
    }

    /// Takes a waiter out that gives up. Either it had been called, or the caller drops its waker,
    /// outside of all locks.
    pub(crate) fn remove(&mut self, key: usize) -> Result<Call, Waker> {
        if let Some(call) = self.take_called(key) {
            return Ok(call);
        }
        self.unlink(key);
        match self.free_slot(key) {
            Slot::Waiting { waker, .. } => Err(waker),
            slot => unreachable!("a waiter gave up in the state {slot:?}"),
        }
    }

    fn call(&mut self, key: usize, call: Call) -> Waker {
        self.unlink(key);
        match mem::replace(&mut self.slots[key], Slot::Called(call)) {
            Slot::Waiting { waker, .. } => waker,
            slot => unreachable!("a waiter was called in the state {slot:?}"),
        }
    }

    fn unlink(&mut self, key: usize) {
        let Slot::Waiting { ahead, behind, .. } = self.slots[key] else {
            unreachable!("only those who wait are in the line");
        };
        match ahead {
            Some(ahead) => self.set_behind(ahead, behind),
            None => self.head = behind,
        }
        match behind {
            Some(behind) => self.set_ahead(behind, ahead),
            None => self.tail = ahead,
        }
    }

    fn set_ahead(&mut self, key: usize, to: Option<usize>) {
        if let Slot::Waiting { ahead, .. } = &mut self.slots[key] {
            *ahead = to;
        }
    }

    fn set_behind(&mut self, key: usize, to: Option<usize>) {
        if let Slot::Waiting { behind, .. } = &mut self.slots[key] {
            *behind = to;
        }
    }

    fn take_slot(&mut self, slot: Slot) -> usize {
        self.used += 1;
        let Some(key) = self.free else {
            self.slots.push(slot);
            return self.slots.len() - 1;
        };
        match mem::replace(&mut self.slots[key], slot) {
            Slot::Free { next } => self.free = next,
            slot => unreachable!("the free list led to {slot:?}"),
        }
        key
    }

    fn free_slot(&mut self, key: usize) -> Slot {
        self.used -= 1;
        mem::replace(&mut self.slots[key], Slot::Free { next: self.free.replace(key) })
    }
}
