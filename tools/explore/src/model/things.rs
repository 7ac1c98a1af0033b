//! R7 and R8: whose a resource is, and when it is finalized.

use super::{Model, Verdict, ensure};

#[derive(Debug, Default)]
pub(super) struct Thing {
    /// Whether its finalizer takes its place among those of the owner's end. What was moved may
    /// come after what was made later.
    in_order: bool,
    /// Whether its owner has let it go.
    released: bool,
    pub(super) begun: bool,
    pub(super) finalized: bool,
}

impl Model {
    pub(super) fn thing(&mut self, number: usize) -> &mut Thing {
        self.things.entry(number).or_default()
    }

    fn owner(&self, resource: usize) -> Option<usize> {
        let owner = self.tasks.iter().find(|(_, task)| task.owns.contains(&resource));
        owner.map(|(job, _)| *job)
    }

    pub(super) fn owned(&mut self, job: usize, resource: usize) {
        self.thing(resource).in_order = true;
        self.task(job).owns.push(resource);
    }

    /// R7: the owner may use it, and nobody else.
    pub(super) fn used(&mut self, job: usize, resource: usize, as_owner: bool) -> Verdict {
        let owner = self.owner(resource);
        ensure((owner == Some(job)) == as_owner, || format!("R7: job {owner:?} owns {resource}"))
    }

    /// R7: one owner at a time.
    pub(super) fn moved(&mut self, resource: usize, to: usize) -> Verdict {
        let thing = self.thing(resource);
        ensure(!thing.begun, || "R7: what is finalized is moved".into())?;
        thing.in_order = false;
        self.tasks.values_mut().for_each(|task| task.owns.retain(|&owned| owned != resource));
        self.task(to).owns.push(resource);
        Ok(())
    }

    pub(super) fn released(&mut self, resource: usize) -> Verdict {
        let thing = self.thing(resource);
        ensure(!thing.begun, || "R7: what is finalized is released".into())?;
        thing.released = true;
        Ok(())
    }

    /// R8: each once, newest first, and after the owner's future is gone unless it was let go.
    pub(super) fn finalizer_begins(&mut self, resource: usize) -> Verdict {
        let thing = self.thing(resource);
        ensure(!thing.begun, || "R8: it is finalized twice".into())?;
        thing.begun = true;
        let (in_order, released) = (thing.in_order, thing.released);
        let Some(job) = self.owner(resource) else { return Err("R7: nobody owns it".into()) };
        if released {
            return Ok(());
        }
        let task = &self.tasks[&job];
        ensure(task.dropped || !task.begun, || {
            format!("R5: its owner, job {job}, is still there")
        })?;
        if !task.begun {
            self.may_end(job)?;
        }
        if in_order { self.is_the_newest(resource, job) } else { Ok(()) }
    }

    fn is_the_newest(&self, resource: usize, owner: usize) -> Verdict {
        let owned = &self.tasks[&owner].owns;
        let newer = owned.iter().skip_while(|&&owned| owned != resource).skip(1);
        let waiting = |number: &&usize| {
            let thing = &self.things[*number];
            thing.in_order && !thing.released && !thing.begun
        };
        let newer: Vec<_> = newer.filter(waiting).collect();
        ensure(newer.is_empty(), || format!("R8: {newer:?} of job {owner} are newer"))
    }

    pub(super) fn finalized(&mut self, resource: usize) -> Verdict {
        let thing = self.thing(resource);
        ensure(thing.begun && !thing.finalized, || "R8: a finalizer ends once".into())?;
        thing.finalized = true;
        Ok(())
    }
}
