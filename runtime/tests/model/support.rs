//! Runs models that have to hold, and models that must not.

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

/// Asserts that some schedule of `model` fails, and that it says `why`.
///
/// The model runs in a process of its own, because a failing one may abort: loom takes the other
/// threads of the model down while it unwinds, and their primitives panic outside of a model.
#[track_caller]
pub(super) fn fails(why: &str, model: impl Fn() + Send + Sync + 'static) {
    let test = thread::current();
    let test = test.name().expect("the test runner names its threads");
    if env::var_os(TWIN).is_some_and(|name| name == test) {
        return holds(model);
    }
    let mut twin = Command::new(env::current_exe().expect("the test binary"));
    twin.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    twin.env(TWIN, test).env("RUST_BACKTRACE", "0");
    let output = twin.output().expect("the test binary starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a wrong twin passed its model");
    assert!(text.contains(why), "it failed for another reason: {text}");
}

/// Memory that is freed once, by whoever gives the last reference up.
pub(super) struct Memory(UnsafeCell<usize>);

// SAFETY: that each access has the memory for itself is what a model shows: loom's cell panics when
// two threads are inside, or when one does not see what the other did before.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory(UnsafeCell::new(0))
    }

    /// Gives a reference up, and frees the memory if `release` says that it was the last one.
    pub(super) fn give_up(&self, release: impl FnOnce() -> bool) {
        // SAFETY: who has a reference may read. Loom says if somebody frees it meanwhile.
        self.0.with(|memory| assert_eq!(unsafe { *memory }, 0, "used after it was freed"));
        if release() {
            // SAFETY: it was the last reference.
            self.0.with_mut(|memory| unsafe { *memory += 1 });
        }
    }

    /// Called when all references are gone.
    pub(super) fn assert_freed(&self) {
        // SAFETY: nobody else refers to it.
        self.0.with(|memory| assert_eq!(unsafe { *memory }, 1, "freed exactly once"));
    }
}
