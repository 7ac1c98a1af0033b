//! Locks, and those who wait for a condition in a line.

use std::time::Duration;

use super::{Model, Verdict, ensure};

/// How long it takes at most until somebody who was called, and to whom nobody holds the lock up,
/// has it.
const SLACK: Duration = Duration::from_millis(30);

/// Those who wait for the condition of a lock.
#[derive(Debug, Default)]
pub(super) struct Line {
    jobs: Vec<usize>,
    /// How many of them were called and have not gone on yet. Which ones is not known: who leaves
    /// passes its call on.
    called: usize,
    /// When somebody was called, or the lock changed hands.
    changed_at: Duration,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    fn leave(&mut self, job: usize) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|&waits| waits != job);
        before != self.jobs.len()
    }
}

impl Model {
    fn line(&mut self, lock: usize) -> &mut Line {
        self.lines.entry(lock).or_default()
    }

    pub(super) fn locked(&mut self, job: usize, lock: usize) -> Verdict {
        self.may_run(job)?;
        self.line(lock).changed_at = self.now;
        match self.locks.insert(lock, job) {
            Some(other) => Err(format!("lock {lock} is held by job {other}")),
            None => Ok(()),
        }
    }

    pub(super) fn unlocked(&mut self, job: usize, lock: usize) -> Verdict {
        self.line(lock).changed_at = self.now;
        let holder = self.locks.remove(&lock);
        ensure(holder == Some(job), || format!("lock {lock} is held by {holder:?}"))
    }

    pub(super) fn waits(&mut self, job: usize, lock: usize) -> Verdict {
        self.may_run(job)?;
        self.line(lock).jobs.push(job);
        Ok(())
    }

    /// A signal calls one who was not called yet, if there is one, and is not kept.
    pub(super) fn signalled(&mut self, lock: usize, called: bool) -> Verdict {
        let now = self.now;
        let line = self.line(lock);
        let waits = line.jobs.len() > line.called;
        ensure(called == waits, || format!("somebody waits: {waits}"))?;
        if called {
            line.called += 1;
            line.changed_at = now;
        }
        Ok(())
    }

    /// No wait ends without a signal.
    pub(super) fn woken(&mut self, job: usize, lock: usize) -> Verdict {
        self.may_run(job)?;
        let line = self.line(lock);
        ensure(line.called > 0, || "nobody has called it".into())?;
        ensure(line.leave(job), || "it did not wait".into())?;
        line.called -= 1;
        Ok(())
    }

    /// Who leaves the line passes its call on, if there is somebody.
    pub(super) fn left_line(&mut self, job: usize, lock: usize) -> Verdict {
        let (now, held) = (self.now, self.locks.contains_key(&lock));
        let line = self.line(lock);
        let all_called = line.called >= line.jobs.len();
        let unheard = all_called && !held && now > line.changed_at + SLACK;
        ensure(line.leave(job), || "it did not wait".into())?;
        line.called = line.called.min(line.jobs.len());
        self.task(job).unheard = unheard;
        Ok(())
    }
}
