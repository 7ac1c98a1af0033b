//! The waiters of one primitive: their states, and the line of those that wait.
//!
//! Everything here runs under the lock of the list and calls no foreign code: wakers are moved in
//! and out, but not cloned, called or dropped before the list is dropped itself.

use std::panic::Location;
use std::task::Waker;

use matou_hooks::TaskKey;

use super::offer::drop_waker;

/// How many lost races a waiter tolerates; with the next one it is starved. Several, because the
/// task that uses a busy primitive usually uses it again before another one can wake up; not many,
/// because each lost race costs the waiter a useless poll. The models explore short schedules only.
const LOSSES_MAX: u8 = if cfg!(any(loom, shuttle)) { 1 } else { 4 };

/// The largest number of simultaneous waiters. The unit tests reach it.
const WAITERS_MAX: usize = if cfg!(test) { 8 } else { NIL as usize };

/// The index of no slot.
const NIL: u32 = u32::MAX;

/// The state of a waiter:
///
/// ```text
///                         .--- overtaken: polled, but a newcomer was first ---.
///                         v                                                   |
///      enqueued ------> Waiting ----------------- offered ----------------> Offered ---> taken
///                         ^  |                       ^                        |
///                         |  |                       | (signals only)         |
///    polled, and waits on |  | released              |                        | declined
///                         |  v                       |                        |
///                         |  Released --> taken      |                        |
///                         |      ^                   |                        |
///                         |      | released          |                        |
///                         '---- Declined <-----------+------------------------'
/// ```
///
/// A waiter can be dropped in each of them. If that happens while it is offered something, the
/// offer is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not a waiter: the slot is free.
    Free,
    /// In the line.
    Waiting,
    /// It was woken and may take what it waits for in its next poll.
    Offered,
    /// It was offered something, and its task was polled without polling it. It is offered nothing
    /// until it is polled, and keeps its ticket.
    Declined,
    /// It was woken together with all others, and not polled since.
    Released,
}

/// Identifies a waiter. Must go back to its list, otherwise the slot is leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterKey(pub(super) u32);

/// The part of a waiter that its primitive knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The task that polled the waiter last, if the process has a host and a task of it did.
    pub(crate) task: Option<TaskKey>,
    /// The call that created the waiter's future.
    pub(crate) at: &'static Location<'static>,
    /// A number of the primitive's for each waiter. The list only compares it.
    pub(crate) data: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request: Request,
    pub(super) state: State,
    /// `None` while the waiter is polled, and after it was woken.
    pub(super) waker: Option<Waker>,
    /// Larger than the tickets of all earlier waiters. The line is sorted by it.
    ticket: u64,
    /// The number of the last offer to this waiter.
    offer: u32,
    /// How often a newcomer took what this waiter had been offered.
    losses: u8,
    /// The neighbours, if the waiter is waiting or has declined. Of a free slot, `next` is the next
    /// free one.
    prev: u32,
    next: u32,
}

/// The rest of a waiter that was taken out. The waker is dropped after unlocking.
#[derive(Debug)]
pub(super) struct Removed {
    /// The key of the offer that was open to it.
    pub(super) offer: Option<u64>,
    pub(super) data: usize,
    pub(super) waker: Option<Waker>,
}

impl Entry {
    /// The key of the open offer to this waiter, whose own key is `key`.
    pub(super) fn open_offer(&self, key: WaiterKey) -> Option<u64> {
        (self.state == State::Offered).then(|| offer_key(key.0, self.offer))
    }

    fn is_starved(&self) -> bool {
        self.losses > LOSSES_MAX
    }

    /// Returns whether the waiter holds newcomers back. A waiter that has declined does not,
    /// however often it was overtaken.
    pub(super) fn holds_back(&self) -> bool {
        // fault: declined-waiter-holds-newcomers-back
        self.is_starved() && matches!(self.state, State::Waiting | State::Offered)
    }
}

/// The key by which the host knows an offer.
fn offer_key(slot: u32, offer: u32) -> u64 {
    u64::from(slot) << 32 | u64::from(offer)
}

#[derive(Clone, Copy, Debug)]
struct Line {
    head: u32,
    tail: u32,
}

const EMPTY: Line = Line { head: NIL, tail: NIL };

/// A slab of entries, with the line of those that wait and the list of those that have declined.
///
/// All methods take constant time, except that a waiter which returns to the line looks for its
/// place from both ends.
#[derive(Debug)]
pub(super) struct Waiters {
    slots: Vec<Entry>,
    first_free: u32,
    occupied: usize,
    tickets: u64,
    offers: u32,
    waiting: Line,
    declined: Line,
    /// How many offers are neither taken nor declined.
    open: usize,
    /// The sum of the data of those waiters. Wraps around if the data are no amounts.
    open_data: usize,
    /// How many waiters hold newcomers back.
    pub(super) starved: usize,
}

impl Drop for Waiters {
    /// Two panics in the drop of one list would abort the process.
    fn drop(&mut self) {
        self.slots.iter_mut().for_each(|entry| drop_waker(entry.waker.take()));
    }
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            first_free: NIL,
            occupied: 0,
            tickets: 0,
            offers: 0,
            waiting: EMPTY,
            declined: EMPTY,
            open: 0,
            open_data: 0,
            starved: 0,
        }
    }

    /// Returns the number of waiters to which no offer is open.
    pub(super) fn len(&self) -> usize {
        self.occupied - self.open
    }

    pub(super) fn has_open_offer(&self) -> bool {
        self.open > 0
    }

    /// Returns the sum of the data of all waiters with an open offer.
    pub(super) fn open_data(&self) -> usize {
        self.open_data
    }

    pub(super) fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Returns whether more than one waiter is in the line.
    pub(super) fn has_second(&self) -> bool {
        self.waiting.head != self.waiting.tail
    }

    /// # Panics
    ///
    /// Panics if there is no room for another waiter.
    pub(super) fn assert_room(&self) {
        assert!(self.occupied < WAITERS_MAX, "more than {WAITERS_MAX} tasks wait");
    }

    /// Appends a waiter to the line. If `is_strict`, it holds newcomers back from the beginning.
    #[inline]
    pub(super) fn insert(&mut self, request: Request, waker: Waker, is_strict: bool) -> WaiterKey {
        self.starved += usize::from(is_strict);
        self.tickets += 1;
        self.occupied += 1;
        let entry = Entry {
            request,
            state: State::Waiting,
            waker: Some(waker),
            ticket: self.tickets,
            offer: 0,
            losses: if is_strict { LOSSES_MAX + 1 } else { 0 },
            prev: NIL,
            next: NIL,
        };
        let slot = self.first_free;
        let slot = match self.slots.get_mut(slot as usize) {
            Some(free) => {
                self.first_free = free.next;
                // The waker of a free slot was taken, so there is nothing to drop.
                std::mem::forget(std::mem::replace(free, entry));
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        let last = std::mem::replace(&mut self.waiting.tail, slot);
        match last {
            NIL => self.waiting.head = slot,
            last => self.entry_mut(last).next = slot,
        }
        self.entry_mut(slot).prev = last;
        WaiterKey(slot)
    }

    pub(super) fn get(&mut self, key: WaiterKey) -> &mut Entry {
        self.entry_mut(key.0)
    }

    /// Takes a waiter out.
    #[inline]
    pub(super) fn remove(&mut self, key: WaiterKey) -> Removed {
        self.leave_state(key.0);
        self.occupied -= 1;
        let next = std::mem::replace(&mut self.first_free, key.0);
        let entry = self.entry_mut(key.0);
        let offer = entry.open_offer(key);
        (entry.state, entry.next) = (State::Free, next);
        Removed { offer, data: entry.request.data, waker: entry.waker.take() }
    }

    /// The first waiter in the line.
    pub(super) fn first(&self) -> Option<u32> {
        // fault: decline-breaks-order
        let head = self.waiting.head;
        (head != NIL).then_some(head)
    }

    /// The waiter that declined first.
    pub(super) fn first_declined(&self) -> Option<u32> {
        (self.declined.head != NIL).then_some(self.declined.head)
    }

    pub(super) fn request(&self, slot: u32) -> Request {
        self.entry(slot).request
    }

    /// Offers a waiter that is in a line what it waits for. Returns its waker and the key of the
    /// offer.
    #[inline]
    pub(super) fn offer(&mut self, slot: u32) -> (Option<Waker>, u64) {
        let entry = self.entry(slot);
        let (state, data, held_back) = (entry.state, entry.request.data, entry.holds_back());
        self.unlink(slot, state);
        let offer = self.offers.wrapping_add(1);
        self.offers = offer;
        self.open += 1;
        self.open_data = self.open_data.wrapping_add(data);
        let entry = self.entry_mut(slot);
        (entry.state, entry.offer) = (State::Offered, offer);
        let (waker, holds_back) = (entry.waker.take(), entry.holds_back());
        self.starved = self.starved + usize::from(holds_back) - usize::from(held_back);
        (waker, offer_key(slot, offer))
    }

    /// Returns the waiter of an offer, unless the offer was taken, declined or withdrawn. (The
    /// number of the offer repeats after 2^32 offers. The host asks within a few polls.)
    pub(super) fn find_open(&self, offer: u64) -> Option<u32> {
        let (slot, number) = ((offer >> 32) as u32, offer as u32);
        let entry = self.slots.get(slot as usize)?;
        // fault: decline-of-a-used-offer
        let is_open = entry.state == State::Offered && entry.offer == number;
        is_open.then_some(slot)
    }

    /// Sets a waiter aside.
    pub(super) fn decline(&mut self, slot: u32) {
        self.change(slot, |entry| entry.state = State::Declined);
    }

    /// Puts a waiter that was polled and has to wait back to its place in the line.
    pub(super) fn wait_again(&mut self, key: WaiterKey) {
        match self.get(key).state {
            State::Waiting | State::Free => {}
            // fault: losses-not-counted
            State::Offered => self.change(key.0, |entry| {
                entry.state = State::Waiting;
                entry.losses = entry.losses.saturating_add(1);
            }),
            State::Declined | State::Released => {
                self.change(key.0, |entry| entry.state = State::Waiting);
            }
        }
    }

    /// Releases all waiters in the line, in order, and then those that have declined. Returns their
    /// wakers; a waiter that is being polled has none.
    pub(super) fn release_all(&mut self) -> (usize, Vec<Waker>) {
        let (mut released, mut wakers) = (0, Vec::new());
        while let Some(slot) = self.first().or_else(|| self.first_declined()) {
            self.change(slot, |entry| entry.state = State::Released);
            wakers.extend(self.entry_mut(slot).waker.take());
            released += 1;
        }
        (released, wakers)
    }

    /// Changes the state of a waiter, and with it everything that depends on the state.
    fn change(&mut self, slot: u32, change: impl FnOnce(&mut Entry)) {
        self.leave_state(slot);
        change(self.entry_mut(slot));
        self.enter_state(slot);
    }

    #[inline]
    fn leave_state(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let (state, data, holds_back) = (entry.state, entry.request.data, entry.holds_back());
        self.starved -= usize::from(holds_back);
        match state {
            State::Waiting | State::Declined => self.unlink(slot, state),
            State::Offered => {
                self.open -= 1;
                self.open_data = self.open_data.wrapping_sub(data);
            }
            State::Released | State::Free => {}
        }
    }

    fn enter_state(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let (state, data, holds_back) = (entry.state, entry.request.data, entry.holds_back());
        let ticket = entry.ticket;
        self.starved += usize::from(holds_back);
        match state {
            State::Waiting => {
                // fault: waiter-returns-to-the-end
                let prev = self.place(ticket);
                self.link(slot, state, prev);
            }
            State::Declined => self.link(slot, state, self.declined.tail),
            State::Offered => {
                self.open += 1;
                self.open_data = self.open_data.wrapping_add(data);
            }
            State::Released | State::Free => {}
        }
    }

    /// Returns the last waiter in the line whose ticket is smaller. Searches from both ends: most
    /// waiters are new and come last, and most that return were the first.
    fn place(&self, ticket: u64) -> u32 {
        let (mut front, mut back) = (self.waiting.head, self.waiting.tail);
        loop {
            if back == NIL || self.entry(back).ticket < ticket {
                return back;
            }
            let first = self.entry(front);
            if first.ticket > ticket {
                return first.prev;
            }
            (front, back) = (first.next, self.entry(back).prev);
        }
    }

    fn line(&mut self, state: State) -> &mut Line {
        if state == State::Waiting { &mut self.waiting } else { &mut self.declined }
    }

    /// Links a waiter behind `prev`, or at the beginning if that is `NIL`.
    fn link(&mut self, slot: u32, state: State, prev: u32) {
        let next = match prev {
            NIL => std::mem::replace(&mut self.line(state).head, slot),
            prev => std::mem::replace(&mut self.entry_mut(prev).next, slot),
        };
        match next {
            NIL => self.line(state).tail = slot,
            next => self.entry_mut(next).prev = slot,
        }
        let entry = self.entry_mut(slot);
        (entry.prev, entry.next) = (prev, next);
    }

    fn unlink(&mut self, slot: u32, state: State) {
        let &Entry { prev, next, .. } = self.entry(slot);
        match prev {
            NIL => self.line(state).head = next,
            prev => self.entry_mut(prev).next = next,
        }
        match next {
            NIL => self.line(state).tail = prev,
            next => self.entry_mut(next).prev = prev,
        }
    }

    fn entry(&self, slot: u32) -> &Entry {
        &self.slots[slot as usize]
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slots[slot as usize]
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const REQUEST: fn(usize) -> Request =
        |data| Request { task: None, at: Location::caller(), data };

    /// The data of the waiters in the line, in order.
    fn line(waiters: &Waiters) -> Vec<usize> {
        let (mut found, mut slot) = (Vec::new(), waiters.waiting.head);
        while slot != NIL {
            found.push(waiters.request(slot).data);
            slot = waiters.entry(slot).next;
        }
        found
    }

    #[test]
    fn a_waiter_that_returns_has_its_old_place() {
        let mut waiters = Waiters::new();
        let keys: Vec<_> = (0..6)
            .map(|data| waiters.insert(REQUEST(data), Waker::noop().clone(), false))
            .collect();
        for &key in &[keys[4], keys[0], keys[1], keys[5]] {
            drop(waiters.offer(key.0));
        }
        waiters.decline(keys[5].0);
        waiters.decline(keys[1].0);
        assert_eq!((line(&waiters), waiters.len(), waiters.open), (vec![2, 3], 4, 2));
        for (key, expected) in [
            (keys[4], vec![2, 3, 4]),
            (keys[1], vec![1, 2, 3, 4]),
            (keys[5], vec![1, 2, 3, 4, 5]),
            (keys[0], vec![0, 1, 2, 3, 4, 5]),
        ] {
            waiters.wait_again(key);
            assert_eq!(line(&waiters), expected);
        }
        drop(waiters.remove(keys[3]));
        drop(waiters.offer(keys[2].0));
        assert_eq!(waiters.release_all().0, 4);
        assert_eq!((line(&waiters), waiters.open, waiters.first_declined()), (vec![], 1, None));
    }

    /// All sequences of a few operations leave the counts and the order consistent.
    #[test]
    fn the_line_is_sorted_and_the_counts_are_right_after_any_operations() {
        // Fewer where each access to memory is checked, which takes long.
        const STEPS: u32 = if option_env!("MATOU_TEST_FEWER").is_some() { 5 } else { 6 };
        for sequence in 0_u32..7_u32.pow(STEPS) {
            let (mut waiters, mut keys, mut rest) = (Waiters::new(), Vec::new(), sequence);
            for step in 0..STEPS as usize {
                let operation = rest % 7;
                rest /= 7;
                let key = keys.get(step % 3).copied();
                match (operation, key) {
                    (0 | 1, _) | (_, None) if keys.len() < 4 => {
                        keys.push(waiters.insert(
                            REQUEST(keys.len()),
                            Waker::noop().clone(),
                            false,
                        ));
                    }
                    (2 | 3, _) => {
                        if let Some(slot) = waiters.first() {
                            drop(waiters.offer(slot));
                        }
                    }
                    (4, Some(key)) if waiters.get(key).state == State::Offered => {
                        waiters.decline(key.0);
                    }
                    (5, Some(key)) => waiters.wait_again(key),
                    (6, Some(key)) => {
                        drop(waiters.remove(key));
                        keys.retain(|&other| other != key);
                    }
                    _ => {}
                }
                assert!(line(&waiters).is_sorted());
                let states: Vec<_> = keys.iter().map(|&key| waiters.get(key).state).collect();
                let count = |state| states.iter().filter(|&&other| other == state).count();
                assert_eq!(line(&waiters).len(), count(State::Waiting));
                assert_eq!((waiters.open, waiters.occupied), (count(State::Offered), keys.len()));
            }
        }
    }
}
