//! Runs models that have to hold, and models that must not.

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
