//! Runs models that must hold, and models that must fail.

use loom::cell::UnsafeCell;
use std::env;
use std::process::Command;
use std::thread;

/// Explores `model` within the bound that `LOOM_MAX_PREEMPTIONS` sets, or 3.
pub(super) fn holds(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

const TWIN: &str = "MATOU_WRONG_TWIN";

/// Asserts that some interleaving of `model` fails with a message that contains `why`.
///
/// The model runs in a child process, because a failing model may abort: loom drops the other
/// threads of the model while it unwinds, and loom's primitives panic outside of a model.
#[track_caller]
pub(super) fn fails(why: &str, model: impl Fn() + Send + Sync + 'static) {
    let test = thread::current();
    let test = test.name().expect("the test runner names its threads");
    if env::var_os(TWIN).is_some_and(|name| name == test) {
        return holds(model);
    }
    let mut child = Command::new(env::current_exe().expect("the test binary"));
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    child.env(TWIN, test).env("RUST_BACKTRACE", "0");
    let output = child.output().expect("the test binary starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a wrong twin passed its model");
    assert!(text.contains(why), "it failed for another reason: {text}");
}

/// Memory that must be freed exactly once, by the thread that drops the last reference.
pub(super) struct Memory(UnsafeCell<usize>);

// SAFETY: the model checks that each access is exclusive: loom's cell panics when two threads
// access it at the same time, or when one access does not happen after the other.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory(UnsafeCell::new(0))
    }

    /// Uses the memory and then drops a reference with `ref_dec`, which returns whether it was the
    /// last one. In that case frees the memory.
    pub(super) fn use_and_drop(&self, ref_dec: impl FnOnce() -> bool) {
        // SAFETY: the caller has a reference. Loom panics if another thread frees the memory during
        // this access.
        self.0.with(|memory| assert_eq!(unsafe { *memory }, 0, "used after it was freed"));
        if ref_dec() {
            // SAFETY: it was the last reference.
            self.0.with_mut(|memory| unsafe { *memory += 1 });
        }
    }

    /// Called when all references are dropped.
    pub(super) fn assert_freed(&self) {
        // SAFETY: all other threads are joined.
        self.0.with(|memory| assert_eq!(unsafe { *memory }, 1, "freed exactly once"));
    }
}
