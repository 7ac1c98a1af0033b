//! A task that foreign threads wake, and whose memory the last reference frees.
//!
//! A foreign waker sets `NOTIFIED` in the word of the task, and the waker that finds it unset sends
//! a message. The domain clears the bit when it receives the message, and then polls the task. Two
//! properties must hold: a poll sees all that was written before the wake-up that caused it, and a
//! task has at most one message in flight. The last thread to drop a reference frees the memory.
//!
//! The model runs the shipped word of a task. The twins implement the same word with a flaw.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use matou_runtime::model::State;

use super::support::{Memory, fails, holds};

/// The operations of wakers and of the domain on the word of a task.
trait Word: Send + Sync + 'static {
    /// The word of a new task, with the reference of its domain and that of its promise.
    fn new() -> Self;
    /// Returns whether the waker must send a message.
    fn notify(&self) -> bool;
    /// The message has arrived.
    fn acknowledge(&self);
    fn ref_inc(&self);
    /// Returns whether it was the last reference.
    fn ref_dec(&self) -> bool;
    /// Drops the domain's reference.
    fn complete(&self) -> bool {
        self.ref_dec()
    }
}

impl Word for State {
    fn new() -> State {
        State::new()
    }

    fn notify(&self) -> bool {
        self.notify_remote()
    }

    fn acknowledge(&self) {
        State::acknowledge(self);
    }

    fn ref_inc(&self) {
        State::ref_inc(self);
    }

    fn ref_dec(&self) -> bool {
        State::ref_dec(self)
    }

    fn complete(&self) -> bool {
        self.complete_detached()
    }
}

const NOTIFIED: usize = 1;
const REF_ONE: usize = 8;

const NO_FLAW: u8 = 0;
/// A waker that finds `NOTIFIED` set only reads the word. The domain's read of the word then does
/// not synchronize with it, and the poll may miss what the waker wrote before.
const READS_ONLY: u8 = 1;
/// A waker checks the bit and sets it in two steps, so two wakers may both send a message.
const NOTIFIES_IN_TWO_STEPS: u8 = 2;
/// The thread with the last reference reads the count without acquiring, so the accesses of other
/// threads need not happen before it frees the memory.
const RELAXED_LAST_REF: u8 = 3;
/// References are dropped by a load and a store, which loses drops in between.
const DROPS_IN_TWO_STEPS: u8 = 4;

/// The word with a flaw.
struct Twin<const FLAW: u8>(AtomicUsize);

impl<const FLAW: u8> Word for Twin<FLAW> {
    fn new() -> Self {
        Twin(AtomicUsize::new(2 * REF_ONE))
    }

    fn notify(&self) -> bool {
        if FLAW == READS_ONLY && self.0.load(Ordering::Relaxed) & NOTIFIED != 0 {
            return false;
        }
        if FLAW == NOTIFIES_IN_TWO_STEPS {
            let notified = self.0.load(Ordering::Acquire) & NOTIFIED != 0;
            self.0.fetch_or(NOTIFIED, Ordering::AcqRel);
            return !notified;
        }
        self.0.fetch_or(NOTIFIED, Ordering::AcqRel) & NOTIFIED == 0
    }

    fn acknowledge(&self) {
        self.0.fetch_and(!NOTIFIED, Ordering::AcqRel);
    }

    fn ref_inc(&self) {
        self.0.fetch_add(REF_ONE, Ordering::Relaxed);
    }

    fn ref_dec(&self) -> bool {
        let order = if FLAW == RELAXED_LAST_REF { Ordering::Relaxed } else { Ordering::Acquire };
        let now = self.0.load(order);
        if now & !NOTIFIED == REF_ONE {
            return true;
        }
        if FLAW == DROPS_IN_TWO_STEPS {
            self.0.store(now - REF_ONE, Ordering::Release);
            return now & !NOTIFIED == REF_ONE;
        }
        self.0.fetch_sub(REF_ONE, Ordering::AcqRel) & !NOTIFIED == REF_ONE
    }
}

struct Task<W> {
    word: W,
    /// The writes of the wakers, made before they wake the task. One place for each.
    written: [AtomicUsize; 2],
    messages: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: Count,
    memory: Memory,
}

impl<W: Word> Task<W> {
    fn new() -> Arc<Task<W>> {
        let word = W::new();
        Arc::new(Task {
            word,
            written: Default::default(),
            messages: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: Count::new(0),
            memory: Memory::new(),
        })
    }

    /// Called on a foreign thread.
    fn wake(&self, waker: usize) {
        // Relaxed: only the word orders this write before the poll.
        self.written[waker].store(1, Ordering::Relaxed);
        if self.word.notify() {
            let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
            let max = self.in_flight_max.load(std::sync::atomic::Ordering::Relaxed);
            self.in_flight_max.store(max.max(before + 1), std::sync::atomic::Ordering::Relaxed);
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A tick of the domain: receives the messages and polls. Returns how many writes the poll
    /// sees.
    fn tick(&self) -> usize {
        let messages = self.messages.swap(0, Ordering::Relaxed);
        for _ in 0..messages {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.word.acknowledge();
        }
        self.written.iter().map(|written| written.load(Ordering::Relaxed)).sum()
    }

    fn drop_ref(&self, dec: impl FnOnce(&W) -> bool) {
        self.memory.use_and_drop(|| dec(&self.word));
    }
}

/// Two foreign threads wake the task while its domain ticks. The messages are relaxed, so that only
/// the word orders the writes before the polls.
fn woken_by_two_threads<W: Word>() {
    let task = Task::<W>::new();
    let wakers = [0, 1].map(|waker| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.wake(waker))
    });
    let early = task.tick();
    let (one, other) =
        (task.written[0].load(Ordering::Relaxed), task.written[1].load(Ordering::Relaxed));
    assert!(early <= one + other);
    // The wakers are not joined yet, since a join would order all their writes.
    let mut seen = early;
    for _ in 0..2 {
        thread::yield_now();
        seen = seen.max(task.tick());
    }
    for waker in wakers {
        waker.join().unwrap();
    }
    let messages = task.messages.load(Ordering::Relaxed);
    // If no message is left, a poll came after each wake-up and must have seen both writes.
    assert!(messages > 0 || seen == 2, "a wake-up was not seen");
    let max = task.in_flight_max.load(std::sync::atomic::Ordering::Relaxed);
    assert!(max <= 1, "two messages in flight for one task");
}

/// The domain and two foreign threads drop their references.
fn the_last_reference_frees<W: Word>() {
    let task = Task::<W>::new();
    // Beside the reference of the promise, one for a second foreign thread.
    task.word.ref_inc();
    let threads = [0, 1].map(|_| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.drop_ref(W::ref_dec))
    });
    task.drop_ref(W::complete);
    for thread in threads {
        thread.join().unwrap();
    }
    task.memory.assert_freed();
}

#[test]
fn a_poll_sees_what_was_written_before_the_wake_up() {
    holds(woken_by_two_threads::<State>);
    holds(woken_by_two_threads::<Twin<NO_FLAW>>);
}

#[test]
fn a_waker_that_only_reads_the_word_is_not_seen() {
    fails("a wake-up was not seen", woken_by_two_threads::<Twin<READS_ONLY>>);
}

#[test]
fn a_notification_in_two_steps_sends_two_messages() {
    fails("two messages in flight", woken_by_two_threads::<Twin<NOTIFIES_IN_TWO_STEPS>>);
}

#[test]
fn the_last_reference_frees_the_memory() {
    holds(the_last_reference_frees::<State>);
    holds(the_last_reference_frees::<Twin<NO_FLAW>>);
}

#[test]
fn a_last_reference_that_does_not_acquire_frees_memory_that_is_still_read() {
    fails("Causality violation", the_last_reference_frees::<Twin<RELAXED_LAST_REF>>);
}

#[test]
fn references_dropped_in_two_steps_are_lost() {
    fails("freed exactly once", the_last_reference_frees::<Twin<DROPS_IN_TWO_STEPS>>);
}
