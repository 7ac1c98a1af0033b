//! Waits that another future limits.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::Condition;
use super::wait::Wait;
use crate::mutex::MutexGuard;

impl Condition {
    /// Waits as [`wait`](Self::wait) does, but only until `limit` is ready. In both cases the mutex
    /// is locked again. Returns the output of `limit` if that ended the wait, and `None` if a
    /// signal or a broadcast did.
    ///
    /// With a sleep of the runtime as `limit` this is a wait with a time limit that keeps the
    /// guard. The lock itself has no limit. A signal that arrives while the wait is given up is
    /// passed on to the next waiter.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::ready;
    /// use matou_sync::{Condition, Mutex};
    ///
    /// # futures::executor::block_on(async {
    /// let (mutex, changed) = (Mutex::new(1), Condition::new());
    /// let guard = mutex.lock().await;
    /// let (guard, ended_by) = changed.wait_until(guard, ready("limit")).await;
    /// assert_eq!((*guard, ended_by), (1, Some("limit")));
    /// # });
    /// ```
    #[doc(alias = "wait_timeout")]
    #[track_caller]
    pub fn wait_until<'m, T: ?Sized, L: Future>(
        &self,
        guard: MutexGuard<'m, T>,
        limit: L,
    ) -> impl Future<Output = (MutexGuard<'m, T>, Option<L::Output>)> {
        let mut wait = self.wait(guard);
        async move { wait_or_limit(&mut wait, pin!(limit)).await }
    }

    /// Waits as [`wait_while`](Self::wait_while) does, but only until `limit` is ready. The mutex
    /// is then locked again. Returns the output of `limit` if `condition` still holds, and
    /// otherwise `None`.
    ///
    /// # Panics
    ///
    /// As [`wait_while`](Self::wait_while).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use futures::{executor::block_on, join};
    /// use matou_sync::{Condition, Mutex};
    ///
    /// let (jobs, changed) = (Mutex::new(Vec::new()), Condition::new());
    /// block_on(async {
    ///     let take = async {
    ///         let guard = jobs.lock().await;
    ///         // Under matou, `matou_runtime::sleep(..)` in place of `pending()`.
    ///         let limit = pending::<()>();
    ///         let (mut jobs, late) =
    ///             changed.wait_while_until(guard, |jobs| jobs.is_empty(), limit).await;
    ///         assert!(late.is_none());
    ///         jobs.pop()
    ///     };
    ///     let give = async {
    ///         jobs.lock().await.push("job");
    ///         changed.signal();
    ///     };
    ///     assert_eq!(join!(take, give).0, Some("job"));
    /// });
    /// ```
    #[doc(alias = "wait_timeout_while")]
    #[track_caller]
    pub fn wait_while_until<'m, T, F, L>(
        &self,
        guard: MutexGuard<'m, T>,
        mut condition: F,
        limit: L,
    ) -> impl Future<Output = (MutexGuard<'m, T>, Option<L::Output>)>
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
        L: Future,
    {
        let mut wait = self.wait(guard);
        async move {
            let mut limit = pin!(limit);
            let mut ended_by = None;
            // Taken out of the wait, so that a panic of the condition unlocks at once.
            while let Some(mut guard) = wait.take_guard() {
                if !condition(&mut guard) {
                    return (guard, None);
                }
                if ended_by.is_some() {
                    return (guard, ended_by);
                }
                wait.restart(guard);
                let (guard, limited) = wait_or_limit(&mut wait, limit.as_mut()).await;
                wait.restart(guard);
                ended_by = limited;
            }
            unreachable!("the wait holds the guard at the beginning of each round")
        }
    }
}

/// Waits until the wait is ended, or else until `limit` is ready; then locks.
async fn wait_or_limit<'m, T: ?Sized, L: Future>(
    wait: &mut Wait<'_, 'm, T>,
    mut limit: Pin<&mut L>,
) -> (MutexGuard<'m, T>, Option<L::Output>) {
    let ended = poll_fn(|cx| {
        if let Poll::Ready(guard) = Pin::new(&mut *wait).poll(cx) {
            return Poll::Ready(Ok(guard));
        }
        // A wait that was woken has used its signal: it only has to lock.
        if wait.was_woken() { Poll::Pending } else { limit.as_mut().poll(cx).map(Err) }
    })
    .await;
    match ended {
        Ok(guard) => (guard, None),
        Err(output) => {
            let lock = wait.give_up().expect("the wait has begun and was not woken");
            (lock.await, Some(output))
        }
    }
}
