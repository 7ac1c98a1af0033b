use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stepped;

/// The stop flag of a [`blocking`](crate::blocking) job, which is set when the job's task is
/// cancelled.
///
/// A job that takes long looks at it now and then, and returns early once it is set. Clones refer
/// to the same flag, so a job can hand it to the functions and threads that it uses.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, Stop, blocking, run};
///
/// fn count_words(lines: &[&str], stop: &Stop) -> usize {
///     let lines = lines.iter().take_while(|_| !stop.is_set());
///     lines.map(|line| line.split_whitespace().count()).sum()
/// }
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let words = blocking(|stop| count_words(&["one two", "three"], &stop)).await?;
///     assert_eq!(words, 3);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "CancellationToken")]
#[derive(Clone)]
pub struct Stop(Arc<Flag>);

#[derive(Default)]
struct Flag {
    is_set: AtomicBool,
    /// Locked while the flag is set and while a thread decides to wait for it.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn new() -> Stop {
        Stop(Arc::default())
    }

    /// Sets the flag.
    pub(crate) fn set(&self) {
        // fault: stop-flag-not-set
        self.0.is_set.store(true, Ordering::Release);
        // A thread that has seen the flag unset under the lock waits by now.
        drop(self.lock());
        self.0.changed.notify_all();
    }

    /// Returns whether the job is asked to stop.
    pub fn is_set(&self) -> bool {
        stepped::pause(None);
        self.0.is_set.load(Ordering::Acquire)
    }

    /// Blocks the thread until the job is asked to stop, at most for `limit`. Returns whether the
    /// job is asked to stop.
    ///
    /// This is the `sleep` of a job: a loop that tries something again every second ends at once
    /// when its task is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use matou_runtime::{RunError, blocking, run, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let job = blocking(|stop| {
    ///         while !stop.wait(Duration::from_secs(60)) { /* look at the directory again */ }
    ///     });
    ///     yield_now().await;
    ///     job.cancel().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "sleep")]
    #[doc(alias = "park_timeout")]
    pub fn wait(&self, limit: Duration) -> bool {
        let pause = (!self.0.is_set.load(Ordering::Acquire)).then_some(limit);
        if stepped::pause(pause) {
            return self.0.is_set.load(Ordering::Acquire);
        }
        let until = Instant::now().checked_add(limit);
        let mut guard = self.lock();
        while !self.0.is_set.load(Ordering::Acquire) {
            let left = until.map_or(Duration::MAX, |until| until - Instant::now().min(until));
            if left.is_zero() {
                return false;
            }
            let waited = self.0.changed.wait_timeout(guard, left);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("is_set", &self.0.is_set.load(Ordering::Relaxed)).finish()
    }
}
