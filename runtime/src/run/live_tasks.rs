use crate::domain::Domain;

/// Returns the number of tasks of the current run that have not completed, on all domains and
/// including the current task; 0 outside a run.
///
/// The count is exact for the tasks of the current domain, and for each task on another domain that
/// the current task has joined, with its descendants. Other changes on other domains become visible
/// when those domains finish the current iteration of their loops.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, live_tasks, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     assert_eq!(live_tasks(), 1); // the main task
///     let child = spawn(pending::<()>());
///     assert_eq!(live_tasks(), 2);
///     child.cancel().await;
///     assert_eq!(live_tasks(), 1);
///     Ok(())
/// })?;
/// assert_eq!(live_tasks(), 0);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "num_alive_tasks")]
pub fn live_tasks() -> usize {
    Domain::try_with(Domain::live_tasks).unwrap_or(0)
}
