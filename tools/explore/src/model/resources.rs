//! R7 and R8: the owner of each resource, and the order of finalizers.

use std::time::Duration;

use super::{CheckResult, Model, ensure};

/// The longest time between the drop of a handle and the start of its finalizer, which the domain
/// of the owner runs.
const FINALIZER_DELAY: Duration = Duration::from_millis(100);

/// The state of a resource or of a deferred future, as far as the model knows it.
#[derive(Debug, Default)]
pub(super) struct ResourceState {
    /// The number of its ticket. A deferred future has none.
    pub(super) ticket: Option<u64>,
    /// Whether its finalizer must run before those of the owner's older resources. After a move to
    /// another owner its position is unspecified.
    is_ordered: bool,
    /// Whether it is finalized at the end of the owner, and does not pass to the parent, as what
    /// was given to a job or deferred.
    pub(super) stays: bool,
    /// Whether it was alive when an owner ended, certainly or possibly.
    has_outlived: bool,
    may_have_outlived: bool,
    /// Whether a job dropped the handle that it had received.
    handle_dropped: bool,
    /// When and by which job the handle was dropped, if the finalizer is due since then.
    due: Option<(Duration, usize)>,
    /// Whether its finalizer ran at the end of the run, because its handle was still alive.
    pub(super) alive_at_end: bool,
    /// Whether the owner released it before its own completion.
    released: bool,
    pub(super) finalizer_started: bool,
    pub(super) finalized: bool,
}

impl Model {
    pub(super) fn resource(&mut self, number: usize) -> &mut ResourceState {
        self.resources.entry(number).or_default()
    }

    fn owner(&self, resource: usize) -> Option<usize> {
        let owner = self.jobs.iter().find(|(_, state)| state.owns.contains(&resource));
        owner.map(|(job, _)| *job)
    }

    pub(super) fn owned(&mut self, job: usize, resource: usize) {
        self.resource(resource).is_ordered = true;
        self.job(job).owns.push(resource);
    }

    /// R7: whether the resource passes to the parent of its owner at the owner's end.
    pub(super) fn may_pass_on(&self, resource: usize) -> bool {
        let state = &self.resources[&resource];
        let is_strict = self.owner(resource).is_some_and(|owner| self.is_strict(owner));
        !is_strict && !state.stays && !state.released
    }

    /// Whether a job must not leave resources behind.
    fn is_strict(&self, job: usize) -> bool {
        self.settings.is_strict || self.jobs[&job].strict_resources
    }

    /// R7: the use of a handle by value or by `&mut` makes the job the owner.
    pub(super) fn adopted(&mut self, job: usize, resource: usize) -> CheckResult {
        self.check_may_run(job)?;
        self.note_end_of_owner(resource);
        self.moved(resource, job)
    }

    /// R7: the drop of a handle finalizes the resource: at once if it has outlived an owner,
    /// otherwise at the latest when the job that dropped the handle ends.
    pub(super) fn handle_dropped(&mut self, job: usize, resource: usize) -> CheckResult {
        let now = self.now;
        self.note_end_of_owner(resource);
        let is_owner = self.owner(resource) == Some(job);
        let is_ending = self.may_have_ended(job);
        let state = self.resource(resource);
        state.handle_dropped = true;
        if state.finalizer_started || state.may_have_outlived && !state.has_outlived {
            return Ok(());
        }
        if state.has_outlived {
            state.due = Some((now, job));
        } else if is_owner {
            state.released = true;
        } else if !is_ending {
            self.moved(resource, job)?;
            self.resource(resource).released = true;
        }
        Ok(())
    }

    /// The resource passes to the parent between the drop of the owner's future and the moment at
    /// which the parent observes the completion.
    fn note_end_of_owner(&mut self, resource: usize) {
        let Some(owner) = self.owner(resource) else { return };
        let (dropped, complete) = (self.job(owner).dropped, self.job(owner).complete);
        let state = self.resource(resource);
        state.may_have_outlived |= dropped;
        state.has_outlived |= complete;
    }

    /// R7: the finalizer of a resource whose handle was dropped does not wait for the end of the
    /// owner, unless that has begun.
    pub(super) fn check_dropped_handles(&self) -> CheckResult {
        for (&resource, state) in &self.resources {
            let Some((since, job)) = state.due.filter(|_| !state.finalizer_started) else {
                continue;
            };
            let owner = self.living_owner(resource);
            let is_ending = |job| self.jobs[&job].returned.is_some() || self.may_have_ended(job);
            let in_time = self.now <= since + FINALIZER_DELAY || is_ending(owner) || is_ending(job);
            ensure(in_time, || format!("R7: {resource} of job {owner} is not finalized"))?;
        }
        Ok(())
    }

    /// The job that owns the resource, or has inherited it.
    fn living_owner(&self, resource: usize) -> usize {
        let mut job = self.owner(resource).unwrap_or(0);
        while job != 0 && self.jobs[&job].dropped {
            job = self.jobs[&job].parent;
        }
        job
    }

    /// R7: only the owner can use a resource.
    pub(super) fn used(&mut self, job: usize, resource: usize, as_owner: bool) -> CheckResult {
        let owner = self.owner(resource);
        ensure((owner == Some(job)) == as_owner, || format!("R7: job {owner:?} owns {resource}"))
    }

    /// R7: a resource has one owner at a time.
    pub(super) fn moved(&mut self, resource: usize, to: usize) -> CheckResult {
        let state = self.resource(resource);
        ensure(!state.finalizer_started, || "R7: a finalized resource is moved".into())?;
        state.is_ordered = false;
        self.jobs.values_mut().for_each(|job| job.owns.retain(|&owned| owned != resource));
        self.job(to).owns.push(resource);
        Ok(())
    }

    pub(super) fn released(&mut self, resource: usize) -> CheckResult {
        let state = self.resource(resource);
        ensure(!state.finalizer_started, || "R7: a finalized resource is released".into())?;
        state.released = true;
        Ok(())
    }

    /// R8: each finalizer runs once. Unless the resource was released, it runs after the owner's
    /// future was dropped, and after the finalizers of newer resources.
    pub(super) fn finalizer_started(&mut self, resource: usize) -> CheckResult {
        let state = self.resource(resource);
        ensure(!state.finalizer_started, || "R8: the resource is finalized twice".into())?;
        state.finalizer_started = true;
        let (is_ordered, released) = (state.is_ordered, state.released);
        let Some(job) = self.owner(resource) else {
            return Err("R7: the resource has no owner".into());
        };
        if released {
            return Ok(());
        }
        let handle_dropped = self.resources[&resource].handle_dropped;
        if handle_dropped || self.may_pass_on(resource) {
            let is_due = handle_dropped || self.jobs[&0].dropped;
            self.resource(resource).alive_at_end = !handle_dropped;
            return ensure(is_due, || format!("R7: the handle of {resource} is alive"));
        }
        let owner = &self.jobs[&job];
        ensure(owner.dropped || !owner.started, || {
            format!("R5: the future of the owner, job {job}, is not dropped")
        })?;
        if !owner.started {
            self.check_may_end(job)?;
        }
        if is_ordered { self.check_is_newest(resource, job) } else { Ok(()) }
    }

    fn check_is_newest(&self, resource: usize, owner: usize) -> CheckResult {
        let owned = &self.jobs[&owner].owns;
        let newer = owned.iter().skip_while(|&&owned| owned != resource).skip(1);
        let waiting = |number: &&usize| {
            let state = &self.resources[*number];
            let is_certain = self.is_strict(owner) || state.stays;
            is_certain && state.is_ordered && !state.released && !state.finalizer_started
        };
        let newer: Vec<_> = newer.filter(waiting).collect();
        ensure(newer.is_empty(), || format!("R8: {newer:?} of job {owner} are newer"))
    }

    pub(super) fn finalized(&mut self, resource: usize) -> CheckResult {
        let state = self.resource(resource);
        let completes = state.finalizer_started && !state.finalized;
        ensure(completes, || "R8: a finalizer completes once".into())?;
        state.finalized = true;
        Ok(())
    }
}
