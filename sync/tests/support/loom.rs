//! Runs models, and runs them crippled.

use std::env;
use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use matou_sync::model::{Sabotage, with_impatience, with_sabotage};

/// A future that owns what it uses, so that a model can poll it here and drop it there.
pub(crate) type Owned<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<T>(future: &mut Owned<T>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Explores `model` within `preemptions` or what `LOOM_MAX_PREEMPTIONS` says, if that is less.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(preemptions).min(preemptions);
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Asserts that `model` holds under all schedules.
pub(crate) fn holds(preemptions: usize, model: impl Fn() + Send + Sync + Copy + 'static) {
    explore(preemptions, model);
}

/// Asserts that `model` holds, both with locks that never lose patience and with locks that lose
/// it at once.
pub(crate) fn holds_in_any_mood(
    preemptions: usize,
    model: impl Fn() + Send + Sync + Copy + 'static,
) {
    with_impatience(false, || explore(preemptions, model));
    with_impatience(true, || explore(preemptions, model));
}

/// Asserts that `model` finds out that `step` is missing: `falls_without!(step, model)`.
///
/// The crippled model runs in a process of its own, as loom's panic unwinds through destructors
/// that use loom again, which may abort. It has to end there by a deadlock or a failed assertion.
macro_rules! falls_without {
    ($step:expr, $model:expr) => {
        // The name of a closure tells in which test it stands.
        crate::support::loom::assert_falls_without(
            std::any::type_name_of_val(&|| {}),
            $step,
            $model,
        )
    };
}

pub(crate) use falls_without;

/// Set in the process of a crippled model.
const CRIPPLED: &str = "MATOU_SYNC_CRIPPLED";

pub(crate) fn assert_falls_without(
    closure_name: &str,
    step: Sabotage,
    model: impl Fn() + Send + Sync + Copy + 'static,
) {
    if env::var_os(CRIPPLED).is_some() {
        return with_impatience(true, || with_sabotage(step, || explore(3, model)));
    }
    let test = closure_name.trim_end_matches("::{{closure}}");
    let (_crate_name, test) = test.split_once("::").expect("a test stands in a crate");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CRIPPLED, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "the model still holds with {step:?}: {text}");
    let by_the_model = text.contains("deadlock") || text.contains("assertion failed");
    assert!(by_the_model, "the model fails with {step:?}, but why? {text}");
}
