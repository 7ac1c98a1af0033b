//! The holders of locks, and the jobs that wait for their conditions.

use std::time::Duration;

use super::{CheckResult, Model, ensure};
use crate::event::Target;

/// The longest time between a signal and the moment at which the waiter has the lock again, if no
/// other job holds the lock.
const SLACK: Duration = Duration::from_millis(30);

/// The jobs that wait for the condition of a lock.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// The jobs that wait for the condition.
    jobs: Vec<usize>,
    /// The number of jobs that a signal selected and that have not resumed. The model does not know
    /// which ones: a selected job that stops waiting passes its signal on.
    signalled: usize,
    /// The time of the last signal, or of the last change of the lock's holder.
    changed_at: Duration,
}

impl WaitQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Returns whether the job was in the queue.
    fn remove(&mut self, job: usize) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|&waiter| waiter != job);
        before != self.jobs.len()
    }
}

impl Model {
    fn wait_queue(&mut self, lock: usize) -> &mut WaitQueue {
        self.wait_queues.entry(lock).or_default()
    }

    pub(super) fn locked(&mut self, job: usize, lock: usize) -> CheckResult {
        self.check_may_run(job)?;
        let now = self.now;
        self.wait_queue(lock).changed_at = now;
        self.received(job, Target::Lock(lock));
        match self.lock_holders.insert(lock, job) {
            Some(other) => Err(format!("lock {lock} is held by job {other}")),
            None => Ok(()),
        }
    }

    pub(super) fn unlocked(&mut self, job: usize, lock: usize) -> CheckResult {
        self.wait_queue(lock).changed_at = self.now;
        self.changed(Target::Lock(lock));
        let holder = self.lock_holders.remove(&lock);
        ensure(holder == Some(job), || format!("lock {lock} is held by {holder:?}"))
    }

    pub(super) fn wait_started(&mut self, job: usize, lock: usize) -> CheckResult {
        self.check_may_run(job)?;
        self.wait_queue(lock).jobs.push(job);
        Ok(())
    }

    /// A signal selects a waiter that no other signal has selected. Without one it has no effect.
    pub(super) fn signalled(&mut self, lock: usize, woke: bool) -> CheckResult {
        let now = self.now;
        let queue = self.wait_queue(lock);
        let has_waiter = queue.jobs.len() > queue.signalled;
        ensure(woke == has_waiter, || format!("a job waits for the signal: {has_waiter}"))?;
        if woke {
            queue.signalled += 1;
            queue.changed_at = now;
        }
        Ok(())
    }

    /// A wait completes only after a signal.
    pub(super) fn woken(&mut self, job: usize, lock: usize) -> CheckResult {
        self.check_may_run(job)?;
        let queue = self.wait_queue(lock);
        ensure(queue.signalled > 0, || "the job was woken without a signal".into())?;
        ensure(queue.remove(job), || "the job did not wait".into())?;
        queue.signalled -= 1;
        Ok(())
    }

    /// A job that stops waiting passes its signal on to another waiter, if there is one.
    pub(super) fn wait_dropped(&mut self, job: usize, lock: usize) -> CheckResult {
        let (now, is_held) = (self.now, self.lock_holders.contains_key(&lock));
        let queue = self.wait_queue(lock);
        let all_signalled = queue.signalled >= queue.jobs.len();
        // A signal selected this job, and it had the time to acquire the lock.
        let signal_lost = all_signalled && !is_held && now > queue.changed_at + SLACK;
        ensure(queue.remove(job), || "the job did not wait".into())?;
        queue.signalled = queue.signalled.min(queue.jobs.len());
        self.job(job).signal_lost = signal_lost;
        Ok(())
    }
}
