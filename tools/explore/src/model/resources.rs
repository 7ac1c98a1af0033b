//! R7 and R8: the owner of each resource, and the order of finalizers.

use super::{CheckResult, Model, ensure};

/// What the model knows of a resource, or of a deferred future.
#[derive(Debug, Default)]
pub(super) struct ResourceState {
    /// Whether its finalizer must run before those of the owner's older resources. After a move to
    /// another owner its position is unspecified.
    is_ordered: bool,
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
            state.is_ordered && !state.released && !state.finalizer_started
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
