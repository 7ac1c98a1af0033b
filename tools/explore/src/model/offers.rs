//! R13: the jobs that wait for locks and queues, and those that have set their wait aside.

use std::time::Duration;

use super::{CheckResult, Model, ensure};
use crate::event::Target;
use crate::program::{PERMITS, capacity};

/// The longest time for which a target is available although a job waits for it. It may be offered
/// to a few other jobs before, which have set it aside or are cancelled; each offer is a message.
const OFFERS: Duration = Duration::from_millis(100);

/// The jobs that want a target.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The jobs that poll their wait whenever they are polled, since when.
    waiting: Vec<(usize, Duration)>,
    set_aside: Vec<SetAside>,
    /// The time of the last change of the lock or queue.
    changed_at: Duration,
}

#[derive(Debug)]
struct SetAside {
    job: usize,
    since: Duration,
    /// Whether it was reported that the job has declined an offer.
    has_declined: bool,
}

impl Model {
    fn line(&mut self, target: Target) -> &mut Line {
        self.lines.entry(target).or_default()
    }

    /// The jobs that wait for a target and poll their wait whenever they are polled.
    pub(super) fn waiters(&self, target: Target) -> Vec<usize> {
        let waiting = self.lines.get(&target).into_iter().flat_map(|line| &line.waiting);
        waiting.map(|(job, _)| *job).collect()
    }

    /// The jobs that wait for a target, and those that have set their wait aside.
    pub(super) fn waiters_and_aside(&self, target: Target) -> Vec<usize> {
        let set_aside = self.lines.get(&target).into_iter().flat_map(|line| &line.set_aside);
        self.waiters(target).into_iter().chain(set_aside.map(|aside| aside.job)).collect()
    }

    pub(super) fn is_available(&self, target: Target) -> bool {
        let len = |queue| self.queues.get(queue).map_or(0, |values| values.len());
        match target {
            Target::Lock(lock) => !self.lock_holders.contains_key(&lock),
            Target::Slot(queue) => len(&queue) < capacity(queue),
            Target::Value(queue) => len(&queue) > 0,
            // A large request may hold back the small ones behind it.
            Target::Permits(amount) => {
                let requests = self.lines.iter().filter(|(_, line)| !line.waiting.is_empty());
                let amounts = requests.filter_map(|(target, _)| match target {
                    Target::Permits(amount) => Some(*amount),
                    _ => None,
                });
                self.free_permits() >= amounts.max().unwrap_or(0).max(amount)
            }
            _ => self.is_primitive_available(target),
        }
    }

    /// R13: a target that is available does not stay so while a job waits for it. Neither a future
    /// that was set aside nor a job that is being cancelled keeps it.
    pub(super) fn check_waiting(&self) -> CheckResult {
        let is_late = |since: Duration| self.now > since + OFFERS;
        for (&target, line) in &self.lines {
            if line.waiting.is_empty() || !is_late(line.changed_at) {
                continue;
            }
            let is_available = self.is_available(target);
            let starved = line.waiting.iter().find(|(job, since)| {
                let may_go_on = is_available || self.is_released(target, *job);
                may_go_on && is_late(*since) && !self.may_have_ended(*job)
            });
            ensure(starved.is_none(), || {
                format!("R13: {target:?} is available, and a job (since) waits for it: {starved:?}")
            })?;
        }
        Ok(())
    }

    /// The lock or queue of a target has changed.
    pub(super) fn changed(&mut self, target: Target) {
        self.line(target).changed_at = self.now;
    }

    /// A job has received what it waited for.
    pub(super) fn received(&mut self, job: usize, target: Target) {
        self.changed(target);
        self.line(target).waiting.retain(|(waiter, _)| *waiter != job);
    }

    pub(super) fn acquisition_started(&mut self, job: usize, target: Target) -> CheckResult {
        self.check_may_run(job)?;
        let now = self.now;
        self.line(target).waiting.push((job, now));
        if target == Target::Barrier {
            // The last job to arrive lets the others go on.
            self.changed(target);
        }
        self.note_circle(job);
        Ok(())
    }

    pub(super) fn acquisition_dropped(&mut self, job: usize, target: Target) -> CheckResult {
        let waiting = &mut self.line(target).waiting;
        let before = waiting.len();
        waiting.retain(|(waiter, _)| *waiter != job);
        let has_waited = waiting.len() < before;
        if let Target::Permits(_) = target {
            // It no longer holds smaller requests back.
            self.permits_changed();
        } else {
            self.primitive_left(job, target);
        }
        ensure(has_waited, || format!("the job did not wait for {target:?}"))
    }

    pub(super) fn set_aside(&mut self, job: usize, target: Target) -> CheckResult {
        self.check_may_run(job)?;
        let since = self.now;
        self.line(target).set_aside.push(SetAside { job, since, has_declined: false });
        Ok(())
    }

    /// A declined offer is a finding. That an offer was made is certain if the target has been
    /// available for some time.
    pub(super) fn set_aside_ended(&mut self, job: usize, target: Target) -> CheckResult {
        self.check_may_run(job)?;
        let (now, is_available) = (self.now, self.is_available(target));
        let line = self.line(target);
        let Some(index) = line.set_aside.iter().position(|aside| aside.job == job) else {
            return Err(format!("the job has not set {target:?} aside"));
        };
        let SetAside { since, has_declined, .. } = line.set_aside.remove(index);
        let is_late = now > line.changed_at + OFFERS;
        // An offer of permits may go to a smaller request, also where a lock consists of them. The
        // signal of a latched trigger is no offer.
        let is_certain = !matches!(
            target,
            Target::Permits(_)
                | Target::Read(_)
                | Target::Write(_)
                | Target::Trigger(crate::program::LATCHED)
        );
        let was_offered = is_certain && is_available && since <= line.changed_at && is_late;
        ensure(has_declined || !was_offered, || {
            format!("R13: job {job} did not report that it has declined {target:?}")
        })
    }

    pub(super) fn set_aside_dropped(&mut self, job: usize, target: Target) {
        self.line(target).set_aside.retain(|aside| aside.job != job);
        self.primitive_left(job, target);
    }

    pub(super) fn offer_declined(&mut self, job: usize, operation: &str) -> CheckResult {
        let lines = self.lines.iter_mut().filter(|(target, _)| target.operation() == operation);
        let mut waits = lines.flat_map(|(_, line)| &mut line.set_aside);
        match waits.find(|aside| aside.job == job) {
            Some(aside) => {
                aside.has_declined = true;
                Ok(())
            }
            None => Err(format!("R13: job {job} has set no {operation} aside")),
        }
    }

    fn free_permits(&self) -> usize {
        PERMITS.saturating_sub(self.permits.values().sum())
    }

    fn permits_changed(&mut self) {
        (1..=PERMITS).for_each(|amount| self.changed(Target::Permits(amount)));
    }

    pub(super) fn permits_acquired(&mut self, job: usize, amount: usize) -> CheckResult {
        self.check_may_run(job)?;
        let free = self.free_permits();
        ensure(amount <= free, || format!("only {free} permits are free"))?;
        self.received(job, Target::Permits(amount));
        self.permits_changed();
        self.permits.insert(job, amount);
        Ok(())
    }

    pub(super) fn permits_returned(&mut self, job: usize) -> CheckResult {
        self.permits_changed();
        let returned = self.permits.remove(&job);
        ensure(returned.is_some(), || format!("job {job} has no permits"))
    }

    pub(super) fn pushed(&mut self, job: usize, queue: usize, value: usize) -> CheckResult {
        self.check_may_run(job)?;
        let is_full = !self.is_available(Target::Slot(queue));
        ensure(!is_full, || format!("queue {queue} is full"))?;
        self.received(job, Target::Slot(queue));
        self.changed(Target::Value(queue));
        self.queues.entry(queue).or_default().push_back(value);
        Ok(())
    }

    /// The values of a queue are popped in the order in which they were pushed.
    pub(super) fn popped(&mut self, job: usize, queue: usize, value: usize) -> CheckResult {
        self.check_may_run(job)?;
        self.received(job, Target::Value(queue));
        self.changed(Target::Slot(queue));
        let oldest = self.queues.entry(queue).or_default().pop_front();
        ensure(oldest == Some(value), || format!("the oldest value of queue {queue} is {oldest:?}"))
    }

    /// The target that a job waits for, if it waits for one alone.
    pub(super) fn target_of(&self, job: usize) -> Option<Target> {
        let waits = |line: &Line| line.waiting.iter().any(|(waiter, _)| *waiter == job);
        self.lines.iter().find(|(_, line)| waits(line)).map(|(target, _)| *target)
    }

    /// After the run no job waits.
    pub(super) fn check_no_waiters(&self) -> CheckResult {
        let waiting = self.lines.iter().find(|(_, line)| !line.waiting.is_empty());
        ensure(waiting.is_none(), || format!("a job still waits: {waiting:?}"))
    }
}
