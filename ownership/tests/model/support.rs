//! Runs models, and runs them crippled.

use std::env;
use std::process::Command;
use std::sync::Arc;

use matou_ownership::model::{Sabotage, with_sabotage};
use matou_ownership::{Ledger, enter};

/// Runs `body` as a piece of the task of `ledger`.
pub(crate) fn within<R>(ledger: &Arc<Ledger>, body: impl FnOnce() -> R) -> R {
    let entered = enter(Some(Arc::clone(ledger)));
    let result = body();
    entered.leave();
    result
}

/// Asserts that `model` holds under all schedules.
pub(crate) fn holds(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

/// Asserts that `model` finds out that `step` is missing: `falls_without!(step, model)`.
///
/// The crippled model runs in a process of its own, as loom's panic unwinds through destructors
/// that use loom again, which may abort. It has to end there by a failed assertion.
macro_rules! falls_without {
    ($step:expr, $model:expr) => {
        // The name of a closure tells in which test it stands.
        super::support::assert_falls_without(std::any::type_name_of_val(&|| {}), $step, $model)
    };
}

pub(crate) use falls_without;

/// Set in the process of a crippled model.
const CRIPPLED: &str = "MATOU_OWNERSHIP_CRIPPLED";

pub(crate) fn assert_falls_without(
    closure_name: &str,
    step: Sabotage,
    model: impl Fn() + Send + Sync + 'static,
) {
    if env::var_os(CRIPPLED).is_some() {
        return with_sabotage(step, || holds(model));
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
    assert!(text.contains("judged: "), "the model fails with {step:?}, but why? {text}");
}
