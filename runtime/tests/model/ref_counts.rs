//! The reference count of a task, part of which its domain keeps in a local counter.
//!
//! Until the task is complete, the domain counts its own clones and drops in `local`, without
//! locked instructions, while other threads drop references, also those that the domain made, in
//! the shared counter. The shared counter therefore contains a large bias for the domain, and on
//! completion the domain merges the two.
//!
//! The model runs the shipped state of a task. The domain makes three references. One of them is
//! dropped on another thread, one on the domain before completion and one after it; a third thread
//! drops the promise. The memory must be freed once, by the last of them. The twins implement the
//! same counters with a flaw.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use matou_runtime::model::State;

use super::support::{Memory, fails, holds};

/// The operations on the references of a task.
trait RefCounts: Send + Sync + 'static {
    /// The counters of a new task, with the reference of its domain and that of its promise.
    fn new() -> Self;
    fn inc_local(&self);
    /// This and the following operations return whether they dropped the last reference.
    fn dec_local(&self) -> bool;
    fn dec(&self) -> bool;
    fn drop_promise(&self) -> bool;
    /// Completes the task, merges the counters and drops the domain's reference.
    fn complete(&self) -> bool;
}

impl RefCounts for State {
    fn new() -> State {
        let state = State::new();
        state.set_slot();
        state
    }

    fn inc_local(&self) {
        self.ref_inc_local();
    }

    fn dec_local(&self) -> bool {
        self.ref_dec_local()
    }

    fn dec(&self) -> bool {
        self.ref_dec()
    }

    fn drop_promise(&self) -> bool {
        self.drop_handle();
        self.ref_dec()
    }

    fn complete(&self) -> bool {
        !State::complete(self) && self.complete_detached()
    }
}

const NO_FLAW: u8 = 0;
/// The domain's bias is one. Other threads can then drop the shared count to zero while the domain
/// still has local references.
const BIAS_OF_ONE: u8 = 1;
/// The counters are merged by a load and a store. A reference that is dropped in between is lost.
const MERGES_IN_TWO_STEPS: u8 = 2;
/// The domain still counts locally after the merge, so that its last drop is not noticed.
const LOCAL_AFTER_COMPLETION: u8 = 3;

/// The counters with a flaw. `local` and `complete` are accessed by the domain only, hence relaxed.
struct Twin<const FLAW: u8> {
    shared: AtomicUsize,
    local: AtomicUsize,
    complete: AtomicUsize,
}

impl<const FLAW: u8> Twin<FLAW> {
    const BIAS: usize = if FLAW == BIAS_OF_ONE { 1 } else { 1000 };

    fn counts_locally(&self) -> bool {
        FLAW == LOCAL_AFTER_COMPLETION || self.complete.load(Ordering::Relaxed) == 0
    }

    fn add_local(&self, change: usize) {
        let local = self.local.load(Ordering::Relaxed);
        self.local.store(local.wrapping_add(change), Ordering::Relaxed);
    }
}

impl<const FLAW: u8> RefCounts for Twin<FLAW> {
    fn new() -> Self {
        let [local, complete] = [0, 0].map(AtomicUsize::new);
        Twin { shared: AtomicUsize::new(Self::BIAS + 1), local, complete }
    }

    fn inc_local(&self) {
        assert!(self.counts_locally(), "the model clones only before completion");
        self.add_local(1);
    }

    fn dec_local(&self) -> bool {
        if self.counts_locally() {
            self.add_local(usize::MAX);
            return false;
        }
        self.dec()
    }

    fn dec(&self) -> bool {
        self.shared.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn drop_promise(&self) -> bool {
        self.dec()
    }

    fn complete(&self) -> bool {
        self.complete.store(1, Ordering::Relaxed);
        let change = self.local.load(Ordering::Relaxed).wrapping_sub(Self::BIAS);
        if FLAW == MERGES_IN_TWO_STEPS {
            let sum = self.shared.load(Ordering::Acquire).wrapping_add(change);
            self.shared.store(sum, Ordering::Release);
            return sum == 0;
        }
        self.shared.fetch_add(change, Ordering::AcqRel).wrapping_add(change) == 0
    }
}

struct Task<C> {
    counts: C,
    memory: Memory,
}

impl<C: RefCounts> Task<C> {
    fn drop_ref(&self, dec: impl FnOnce(&C) -> bool) {
        self.memory.use_and_drop(|| dec(&self.counts));
    }
}

fn the_last_reference_frees<C: RefCounts>() {
    let task = Arc::new(Task { counts: C::new(), memory: Memory::new() });
    task.counts.inc_local();
    task.counts.inc_local();
    // Two other threads: one drops a reference that the domain made, one drops the promise.
    let threads = [C::dec, C::drop_promise].map(|dec| {
        let task = Arc::clone(&task);
        thread::spawn(move || task.drop_ref(dec))
    });
    // This thread is the domain.
    task.counts.inc_local();
    task.drop_ref(C::dec_local);
    task.drop_ref(C::complete);
    task.drop_ref(C::dec_local);
    for thread in threads {
        thread.join().unwrap();
    }
    task.memory.assert_freed();
}

#[test]
fn the_last_reference_frees_a_task_whose_domain_counts_locally() {
    holds(the_last_reference_frees::<State>);
    holds(the_last_reference_frees::<Twin<NO_FLAW>>);
}

#[test]
fn with_a_bias_of_one_a_task_is_freed_while_its_domain_uses_it() {
    fails("Causality violation", the_last_reference_frees::<Twin<BIAS_OF_ONE>>);
}

#[test]
fn counters_merged_in_two_steps_lose_a_drop() {
    fails("freed exactly once", the_last_reference_frees::<Twin<MERGES_IN_TWO_STEPS>>);
}

#[test]
fn a_domain_that_counts_locally_after_completion_leaks_the_task() {
    fails("freed exactly once", the_last_reference_frees::<Twin<LOCAL_AFTER_COMPLETION>>);
}
