//! A task that foreign threads wake, and the memory of it that whoever comes last frees.
//!
//! The model runs the word of a task that ships. A waker writes down what it has to say, and then
//! calls; the domain hears of a call by a message, and then reads. The twins are the same word,
//! written once more, with a flaw.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use matou_runtime::model::State;

use super::support::{Memory, fails, holds};

/// What a waker and a domain do with the word of a task.
trait Word: Send + Sync + 'static {
    fn make() -> Self;
    fn call(&self) -> bool;
    fn hear(&self);
    fn acquire(&self);
    fn release(&self) -> bool;
    /// Gives the domain's own reference up.
    fn end(&self) -> bool {
        self.release()
    }
}

impl Word for State {
    fn make() -> State {
        State::new()
    }

    fn call(&self) -> bool {
        State::notify_remote(self)
    }

    fn hear(&self) {
        State::acknowledge(self);
    }

    fn acquire(&self) {
        State::ref_inc(self);
    }

    fn release(&self) -> bool {
        State::ref_dec(self)
    }

    fn end(&self) -> bool {
        self.complete_detached()
    }
}

const CALLED: usize = 1;
const REFERENCE: usize = 8;

const NONE: u8 = 0;
/// Who finds a call under way does not write.
const LOOKS_ONLY: u8 = 1;
/// Who calls looks and then writes, in two steps.
const CALLS_IN_TWO_STEPS: u8 = 2;
/// Who has the last reference looks without acquiring.
const RELAXED: u8 = 3;
/// References are given up by a load and a store.
const RELEASES_IN_TWO_STEPS: u8 = 4;

/// The word with a flaw.
struct Twin<const FLAW: u8>(AtomicUsize);

impl<const FLAW: u8> Word for Twin<FLAW> {
    fn make() -> Self {
        Twin(AtomicUsize::new(2 * REFERENCE))
    }

    fn call(&self) -> bool {
        if FLAW == LOOKS_ONLY && self.0.load(Ordering::Relaxed) & CALLED != 0 {
            return false;
        }
        if FLAW == CALLS_IN_TWO_STEPS {
            let called = self.0.load(Ordering::Acquire) & CALLED != 0;
            self.0.fetch_or(CALLED, Ordering::AcqRel);
            return !called;
        }
        self.0.fetch_or(CALLED, Ordering::AcqRel) & CALLED == 0
    }

    fn hear(&self) {
        self.0.fetch_and(!CALLED, Ordering::AcqRel);
    }

    fn acquire(&self) {
        self.0.fetch_add(REFERENCE, Ordering::Relaxed);
    }

    fn release(&self) -> bool {
        let only = if FLAW == RELAXED { Ordering::Relaxed } else { Ordering::Acquire };
        let now = self.0.load(only);
        if now & !CALLED == REFERENCE {
            return true;
        }
        if FLAW == RELEASES_IN_TWO_STEPS {
            self.0.store(now - REFERENCE, Ordering::Release);
            return now & !CALLED == REFERENCE;
        }
        self.0.fetch_sub(REFERENCE, Ordering::AcqRel) & !CALLED == REFERENCE
    }
}

struct Task<W> {
    word: W,
    /// What the wakers have written, one place for each.
    said: [AtomicUsize; 2],
    messages: AtomicUsize,
    under_way: AtomicUsize,
    under_way_max: Count,
    memory: Memory,
}

impl<W: Word> Task<W> {
    fn new() -> Arc<Task<W>> {
        let word = W::make();
        Arc::new(Task {
            word,
            said: Default::default(),
            messages: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            under_way_max: Count::new(0),
            memory: Memory::new(),
        })
    }

    /// Called on a foreign thread.
    fn wake(&self, who: usize) {
        // Relaxed: what makes the domain see it is the call alone.
        self.said[who].store(1, Ordering::Relaxed);
        if self.word.call() {
            let before = self.under_way.fetch_add(1, Ordering::Relaxed);
            let most = self.under_way_max.load(std::sync::atomic::Ordering::Relaxed);
            self.under_way_max.store(most.max(before + 1), std::sync::atomic::Ordering::Relaxed);
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Called on the domain: hears of a message, if there is one, and polls.
    fn turn(&self) -> usize {
        let messages = self.messages.swap(0, Ordering::Relaxed);
        for _ in 0..messages {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            self.word.hear();
        }
        self.said.iter().map(|said| said.load(Ordering::Relaxed)).sum()
    }

    fn give_up(&self, release: impl FnOnce(&W) -> bool) {
        self.memory.give_up(|| release(&self.word));
    }
}

/// Two wakers on foreign threads, and a domain that polls now and then. The messages are relaxed:
/// nothing but the word orders what was said.
fn woken_by_two<W: Word>() {
    let task = Task::<W>::new();
    let wakers = [0, 1].map(|who| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.wake(who))
    });
    let early = task.turn();
    let (one, other) = (task.said[0].load(Ordering::Relaxed), task.said[1].load(Ordering::Relaxed));
    assert!(early <= one + other);
    // Not joined yet: that would order everything. The last message is waited for.
    let mut heard = early;
    for _ in 0..2 {
        thread::yield_now();
        heard = heard.max(task.turn());
    }
    for waker in wakers {
        waker.join().unwrap();
    }
    let messages = task.messages.load(Ordering::Relaxed);
    // Two calls, no message left, and both wrote before they called: both were seen.
    assert!(messages > 0 || heard == 2, "a wake-up was not seen");
    let most = task.under_way_max.load(std::sync::atomic::Ordering::Relaxed);
    assert!(most <= 1, "two messages under way for one task");
}

/// The domain and two wakers give their references up.
fn freed_by_the_last<W: Word>() {
    let task = Task::<W>::new();
    // The promise's reference, and another one for a second waker.
    task.word.acquire();
    let threads = [0, 1].map(|_| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.give_up(W::release))
    });
    task.give_up(W::end);
    for thread in threads {
        thread.join().unwrap();
    }
    task.memory.assert_freed();
}

#[test]
fn what_was_said_before_a_wake_up_is_seen_by_the_poll_after_it() {
    holds(woken_by_two::<State>);
    holds(woken_by_two::<Twin<NONE>>);
}

#[test]
fn a_wake_up_that_only_looks_is_not_seen() {
    fails("a wake-up was not seen", woken_by_two::<Twin<LOOKS_ONLY>>);
}

#[test]
fn a_call_in_two_steps_sends_two_messages() {
    fails("two messages under way", woken_by_two::<Twin<CALLS_IN_TWO_STEPS>>);
}

#[test]
fn the_last_reference_frees_the_memory() {
    holds(freed_by_the_last::<State>);
    holds(freed_by_the_last::<Twin<NONE>>);
}

#[test]
fn a_last_reference_that_does_not_acquire_frees_what_another_still_reads() {
    fails("Causality violation", freed_by_the_last::<Twin<RELAXED>>);
}

#[test]
fn references_given_up_in_two_steps_are_lost() {
    fails("freed exactly once", freed_by_the_last::<Twin<RELEASES_IN_TWO_STEPS>>);
}
