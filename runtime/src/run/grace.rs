use std::time::Duration;

use crate::domain::Domain;

/// Returns the grace period of the current run; see [`Builder::grace`](crate::Builder::grace).
///
/// For finalizers that wait, which have to end within it.
///
/// # Panics
///
/// Panics outside a run.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{Builder, RunError, grace};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().grace(Duration::from_secs(2)).run(async {
///     assert_eq!(grace(), Duration::from_secs(2));
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn grace() -> Duration {
    Domain::with("`grace`", |domain| domain.run.config.grace)
}
