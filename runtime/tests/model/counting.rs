//! References to a task, some of which its domain counts apart, without locked instructions, until
//! the task is over.
//!
//! The model runs the state of a task that ships. The domain makes three references; one of them is
//! given up on another thread, one at once, and one after the end. The twins are the same state,
//! written once more, with a flaw.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use matou_runtime::model::State;

use super::support::{Memory, fails, holds};

/// What is done with the references of a task.
trait Counter: Send + Sync + 'static {
    /// The domain's and the promise's.
    fn make() -> Self;
    fn acquire_here(&self);
    /// These return whether it was the last one.
    fn release_here(&self) -> bool;
    fn release(&self) -> bool;
    fn let_the_promise_go(&self) -> bool;
    /// The task is over, and the domain gives its reference up.
    fn end(&self) -> bool;
}

impl Counter for State {
    fn make() -> State {
        let state = State::new();
        state.set_slot();
        state
    }

    fn acquire_here(&self) {
        State::ref_inc_local(self);
    }

    fn release_here(&self) -> bool {
        State::ref_dec_local(self)
    }

    fn release(&self) -> bool {
        State::ref_dec(self)
    }

    fn let_the_promise_go(&self) -> bool {
        self.drop_handle();
        State::ref_dec(self)
    }

    fn end(&self) -> bool {
        !self.complete() && self.complete_detached()
    }
}

const NONE: u8 = 0;
/// The domain's own reference counts as one, as all others do.
const OWN_COUNTS_AS_ONE: u8 = 1;
/// The counts are put together by a load and a store.
const TOGETHER_IN_TWO_STEPS: u8 = 2;
/// The domain goes on counting apart after the end.
const APART_AFTER_THE_END: u8 = 3;

/// The state with a flaw. What is apart is the domain's alone, hence relaxed.
struct Twin<const FLAW: u8> {
    word: AtomicUsize,
    apart: AtomicUsize,
    over: AtomicUsize,
}

impl<const FLAW: u8> Twin<FLAW> {
    const OWN: usize = if FLAW == OWN_COUNTS_AS_ONE { 1 } else { 1000 };

    fn counts_apart(&self) -> bool {
        FLAW == APART_AFTER_THE_END || self.over.load(Ordering::Relaxed) == 0
    }

    fn add_apart(&self, change: usize) {
        let apart = self.apart.load(Ordering::Relaxed);
        self.apart.store(apart.wrapping_add(change), Ordering::Relaxed);
    }
}

impl<const FLAW: u8> Counter for Twin<FLAW> {
    fn make() -> Self {
        let [apart, over] = [0, 0].map(AtomicUsize::new);
        Twin { word: AtomicUsize::new(Self::OWN + 1), apart, over }
    }

    fn acquire_here(&self) {
        assert!(self.counts_apart(), "only before the end");
        self.add_apart(1);
    }

    fn release_here(&self) -> bool {
        if self.counts_apart() {
            self.add_apart(usize::MAX);
            return false;
        }
        self.release()
    }

    fn release(&self) -> bool {
        self.word.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn let_the_promise_go(&self) -> bool {
        self.release()
    }

    fn end(&self) -> bool {
        self.over.store(1, Ordering::Relaxed);
        let change = self.apart.load(Ordering::Relaxed).wrapping_sub(Self::OWN);
        if FLAW == TOGETHER_IN_TWO_STEPS {
            let sum = self.word.load(Ordering::Acquire).wrapping_add(change);
            self.word.store(sum, Ordering::Release);
            return sum == 0;
        }
        self.word.fetch_add(change, Ordering::AcqRel).wrapping_add(change) == 0
    }
}

struct Task<C> {
    counter: C,
    memory: Memory,
}

impl<C: Counter> Task<C> {
    fn give_up(&self, release: impl FnOnce(&C) -> bool) {
        self.memory.give_up(|| release(&self.counter));
    }
}

fn freed_by_the_last<C: Counter>() {
    let task = Arc::new(Task { counter: C::make(), memory: Memory::new() });
    task.counter.acquire_here();
    task.counter.acquire_here();
    let threads = [C::release, C::let_the_promise_go].map(|release| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.give_up(release))
    });
    task.counter.acquire_here();
    task.give_up(C::release_here);
    task.give_up(C::end);
    task.give_up(C::release_here);
    for thread in threads {
        thread.join().unwrap();
    }
    task.memory.assert_freed();
}

#[test]
fn references_counted_apart_free_the_memory_with_the_last_one() {
    holds(freed_by_the_last::<State>);
    holds(freed_by_the_last::<Twin<NONE>>);
}

#[test]
fn a_domain_whose_own_reference_counts_as_one_is_freed_under_its_hands() {
    fails("Causality violation", freed_by_the_last::<Twin<OWN_COUNTS_AS_ONE>>);
}

#[test]
fn counts_put_together_in_two_steps_lose_one() {
    fails("freed exactly once", freed_by_the_last::<Twin<TOGETHER_IN_TWO_STEPS>>);
}

#[test]
fn a_domain_that_counts_apart_after_the_end_leaks_the_memory() {
    fails("freed exactly once", freed_by_the_last::<Twin<APART_AFTER_THE_END>>);
}
